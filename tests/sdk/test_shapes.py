"""The requests that Tako VM's own Python client makes, in its shapes (wire.md 3.2 and 3.3), from the standard library alone.

usage: test_shapes.py http://HOST:PORT | unix:PATH [unittest arguments]
"""

import http.client
import json
import socket
import sys
import unittest
import urllib.parse
import uuid

BASE = ""

# What the client generates for a typed function: imports, the input class, the output class, the function, and a wrapper.
TYPED = '''from dataclasses import dataclass, asdict
import json


@dataclass
class Inner:
    values: list


@dataclass
class Input:
    x: int
    inner: Inner


@dataclass
class Output:
    total: float
    names: list


def compute(data: Input) -> Output:
    import math
    return Output(total=math.fsum([data.x] + data.inner["values"]), names=sorted(["b", "a"]))


def _run():
    with open("/input/data.json") as f:
        raw = json.load(f)
    result = compute(Input(**raw))
    with open("/output/result.json", "w") as f:
        json.dump(asdict(result), f)


_run()
'''

EXECUTE_KEYS = {"success", "output", "execution_time", "stdout", "stderr", "exit_code", "error", "job_type", "execution_id", "runtime"}
RECORD_KEYS = {"execution_id", "status", "job_type", "job_version", "created_at", "started_at", "ended_at", "duration_ms", "exit_code", "stdout", "stderr",
               "output", "error", "timing", "runtime"}
FULL_KEYS = RECORD_KEYS | {"job_ref", "artifacts", "input_artifacts", "resource_usage", "code_hash", "input_hash", "parent_execution_id", "relationship",
                           "stdout_truncated", "stderr_truncated", "idempotency_key"}


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=120)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def call(method, path, body=None, headers=None):
    """One request as httpx makes it: JSON with its content type, or no body and no content type at all."""
    if BASE.startswith("unix:"):
        connection = UnixConnection(BASE[5:])
    else:
        connection = http.client.HTTPConnection(urllib.parse.urlsplit(BASE).netloc, timeout=120)
    headers = dict(headers or {}, **{"X-Correlation-ID": str(uuid.uuid4()), "Accept": "*/*", "User-Agent": "python-httpx/0.27.0"})
    data = None
    if body is not None:
        data = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    try:
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        raw = answer.read()
    finally:
        connection.close()
    assert answer.headers["X-Correlation-ID"] == headers["X-Correlation-ID"], "the correlation id comes back"
    return answer, raw


def get(path, status=200):
    answer, raw = call("GET", path)
    assert answer.status == status, (path, answer.status, raw)
    return json.loads(raw)


def post(path, body=None, status=200):
    answer, raw = call("POST", path, body)
    assert answer.status == status, (path, answer.status, raw)
    return json.loads(raw)


def submit(code, **more):
    body = {"code": code, "input_data": {}, "idempotency_key": "sdk-" + uuid.uuid4().hex}
    body.update(more)
    answer = post("/execute/async", body)
    assert isinstance(answer["job_id"], str) and answer["job_id"], answer
    return answer["job_id"]


def result(job_id, view="full"):
    return get("/jobs/%s/result?wait=true&timeout=300%s" % (job_id, "&view=" + view if view else ""))


class Shapes(unittest.TestCase):
    def test_send(self):
        job_type = get("/job-types/default")  # the client asks for the timeout first
        self.assertIs(type(job_type["timeout"]), int)
        answer, raw = call("POST", "/execute", {"code": TYPED, "input_data": {"x": 1, "inner": {"values": [2.5]}}, "timeout": job_type["timeout"]})
        body = json.loads(raw)
        self.assertEqual(answer.status, 200)
        self.assertLessEqual(EXECUTE_KEYS, body.keys())
        self.assertIs(body["success"], True, body)
        self.assertEqual(body["output"], {"total": 3.5, "names": ["a", "b"]})  # goes into the output class by keyword
        self.assertEqual((body["error"], body["exit_code"], body["job_type"]), (None, 0, "default"))
        self.assertIsInstance(body["execution_time"], (int, float))
        self.assertTrue(body["execution_id"].startswith("api-"))

    def test_send_that_fails(self):
        body = post("/execute", {"code": "import sys; print('o'); sys.exit(3)", "input_data": {}, "idempotency_key": "sdk-" + uuid.uuid4().hex})
        self.assertIs(body["success"], False)
        self.assertEqual((body["exit_code"], body["stdout"]), (3, "o\n"))
        self.assertIsInstance(body["error"], str)

    def test_submit_and_result(self):
        job_id = submit(TYPED, input_data={"x": 1, "inner": {"values": []}}, timeout=20)
        status = get("/jobs/" + job_id)
        self.assertEqual(status.keys(), {"job_id", "status", "created_at", "duration_ms", "queue_position"})
        record = result(job_id)
        self.assertLessEqual(FULL_KEYS, record.keys())
        self.assertEqual((record["status"], record["output"]), ("succeeded", {"total": 1.0, "names": ["a", "b"]}))
        self.assertEqual(result(job_id, view=None).keys(), RECORD_KEYS)
        self.assertEqual(get("/jobs/%s/result" % job_id).keys(), RECORD_KEYS)
        self.assertEqual(get("/jobs/%s/result?timeout=30" % job_id).keys(), RECORD_KEYS)  # an older client sends no wait

    def test_submit_again_after_a_lost_answer(self):
        body = {"code": "print(1)", "input_data": {}, "idempotency_key": "sdk-" + uuid.uuid4().hex}
        first = post("/execute/async", body)["job_id"]
        self.assertEqual(post("/execute/async", body)["job_id"], first)
        error = post("/execute/async", dict(body, code="print(2)"), status=409)
        self.assertEqual(error.keys(), {"detail", "correlation_id"})

    def test_cancel(self):
        job_id = submit("import time; time.sleep(60)", timeout=60)
        self.assertEqual(post("/jobs/%s/cancel" % job_id), {"status": "cancelled", "job_id": job_id})  # no body, no content type
        self.assertEqual(result(job_id)["status"], "cancelled")
        post("/jobs/%s/cancel" % job_id, status=404)

    def test_rerun_and_fork(self):
        parent = submit("import json; print(json.load(open('/input/data.json'))['n'])", input_data={"n": 7})
        result(parent)
        again = post("/jobs/%s/rerun" % parent, {})["job_id"]
        record = result(again)
        self.assertEqual((record["stdout"], record["parent_execution_id"], record["relationship"]), ("7\n", parent, "rerun"))
        again = post("/jobs/%s/rerun" % parent, {"job_type": "default", "timeout": 9})["job_id"]
        self.assertEqual(result(again)["stdout"], "7\n")
        fork = post("/jobs/%s/fork" % parent, {"code": "import json; print(-json.load(open('/input/data.json'))['n'])"})["job_id"]
        record = result(fork)
        self.assertEqual((record["stdout"], record["relationship"]), ("-7\n", "fork"))

    def test_artifacts(self):
        job_id = submit("open('/output/a.bin', 'wb').write(bytes(range(256)))")
        record = result(job_id)
        (artifact,) = [a for a in record["artifacts"] if a["name"] == "a.bin"]
        self.assertEqual(artifact["size_bytes"], 256)
        answer, raw = call("GET", "/jobs/%s/artifacts/a.bin" % job_id)
        self.assertEqual((answer.status, raw, answer.headers["ETag"]), (200, bytes(range(256)), '"%s"' % artifact["sha256"]))

    def test_lists(self):
        job_id = submit("print(1)")
        result(job_id)
        page = get("/executions?limit=50&offset=0")
        self.assertEqual(page.keys(), {"items", "limit", "offset", "has_more", "count"})
        self.assertIn(job_id, [item["execution_id"] for item in page["items"]])
        page = get("/executions?limit=50&offset=0&status=succeeded&job_type=default&view=full")
        self.assertLessEqual(FULL_KEYS, page["items"][0].keys())
        self.assertEqual(get("/executions/" + job_id)["execution_id"], job_id)
        self.assertEqual(get("/pool/stats").keys(), {"pending", "running", "max_workers", "max_queue_size"})
        self.assertEqual(get("/dlq/stats").keys(), {"total", "by_error_type"})
        self.assertLessEqual({"status", "docker_available", "gvisor_available", "circuit_breaker", "version", "production_mode", "queue_stats"}, get("/health").keys())
        self.assertIn("default", [t["name"] for t in get("/job-types")])

    def test_build(self):
        answer, raw = call("POST", "/job-types/default/build")  # no body
        self.assertEqual((answer.status, sorted(json.loads(raw))), (501, ["correlation_id", "detail"]))

    def test_errors(self):
        for path, body, status in [("/execute", {"code": ""}, 422), ("/execute", {"code": "x", "nope": 1}, 422), ("/execute", {"code": "x", "job_type": "nope"}, 404),
                                   ("/execute/async", {"code": "x", "timeout": 100000}, 422), ("/execute/async", {"code": "x", "requirements": ["a b"]}, 422)]:
            answer, raw = call("POST", path, body)
            detail = json.loads(raw)["detail"]
            self.assertEqual(answer.status, status, raw)
            self.assertIsInstance(detail, str if status == 404 else list)
        error = get("/jobs/nope", status=404)
        self.assertEqual(error["detail"], "Job not found")
        self.assertIsInstance(error["correlation_id"], str)
        self.assertEqual(post("/execute", {"code": "x", "timeout": 400}, status=422)["detail"].__class__, str)


if __name__ == "__main__":
    BASE = sys.argv.pop(1)
    unittest.main(verbosity=2)
