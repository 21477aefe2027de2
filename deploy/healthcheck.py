"""The health check of a container: exits with 0 if the given address answers 200, else with 1."""

import sys
from http import HTTPStatus
from urllib.request import urlopen

try:
    with urlopen(sys.argv[1], timeout=4) as answer:  # noqa: S310 - the address is the image's own
        healthy = answer.status == HTTPStatus.OK
except OSError as error:
    sys.exit(str(error))
sys.exit(0 if healthy else 1)
