import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["client", "dashboard", "errors", "results", "window", "ui"])
def test_what_the_api_imports_stays_free_of_evidently_and_pandas(module):
    code = (
        f"import sys, evidently_workspace.{module}\n"
        "sys.exit(str({'evidently', 'pandas', 'sklearn', 'plotly'} & set(sys.modules) or ''))"
    )
    outcome = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert outcome.stderr.strip() == ""
