"""Calls from inside a pod, with the standard library: one call, a load, or whether an address takes connections."""

import http.client
import json
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

ROW = {"sepal_length": 5.1, "sepal_width": 3.5, "petal_length": 1.4, "petal_width": 0.2}


def call(host, method, path, key, body=None, *, connection=None):
    """Return status and text of one answer."""
    own = connection or http.client.HTTPConnection(host, timeout=20)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    own.request(method, path, body, headers)
    answer = own.getresponse()
    text = answer.read().decode()
    if connection is None:
        own.close()
    return answer.status, text


def load(host, key, seconds, callers, keep):
    """Predict from several threads; count what came back."""
    counts, errors, until = {}, [], time.monotonic() + seconds
    lock = threading.Lock()
    body = json.dumps(ROW)

    def work():
        connection = http.client.HTTPConnection(host, timeout=20) if keep else None
        while time.monotonic() < until:
            try:
                status, text = call(host, "POST", "/predict", key, body, connection=connection)
                word = str(status)
                if status != 200:
                    with lock:
                        errors.append(text[:200])
            except (OSError, http.client.HTTPException) as error:
                word = repr(error)
                if connection is not None:
                    connection.close()
            with lock:
                counts[word] = counts.get(word, 0) + 1

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"counts": counts, "errors": errors[:5]}


def connects(host, port):
    """Return whether an address takes connections within two seconds."""
    try:
        socket.create_connection((host, port), 2).close()
    except OSError as error:
        return repr(error)
    return "connected"


def main():
    """Do what the arguments say and print it as JSON."""
    what, *words = sys.argv[1:]
    if what == "call":
        method, url, key, *body = words
        done = call(urlsplit(url).netloc, method, url.partition(urlsplit(url).netloc)[2], key, *body)
    elif what == "load":
        done = load(words[0], words[1], float(words[2]), int(words[3]), words[4] == "keep")
    else:
        done = connects(words[0], int(words[1]))
    sys.stdout.write(json.dumps(done))


main()
