"""Serves moto's AWS like moto.server does, and keeps KMS, S3 and IAM in a file: a key must outlive the process that made it.

emulator.py PACKAGES --host HOST --port PORT --state FILE

An answer to a request that changed something is given when the change is in the file.
"""

import argparse
import copyreg
import io
import json
import os
import pickle
import signal
import sys
from threading import Lock

sys.path.insert(0, sys.argv.pop(1))

import moto  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec, rsa  # noqa: E402
from moto.backends import get_backend  # noqa: E402
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app  # noqa: E402
from moto.s3.models import FakeBucket, S3Backend, s3_backends  # noqa: E402
from moto.s3.utils import _VersionedKeyStore  # noqa: E402
from werkzeug.serving import run_simple  # noqa: E402

SERVICES = ("kms", "s3", "iam")
# Requests by these methods change nothing; most others do, and a comparison tells.
READING = ("GET", "HEAD", "OPTIONS")


def load_private_key(der):
    return serialization.load_der_private_key(der, None)


def reduce_private_key(key):
    plain = serialization.NoEncryption()
    return load_private_key, (key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, plain),)


# cryptography's keys do not pickle.
for make in (lambda: ec.generate_private_key(ec.SECP256R1()), lambda: rsa.generate_private_key(65537, 2048)):
    copyreg.pickle(type(make()), reduce_private_key)


def load_objects(versions):
    store = _VersionedKeyStore()
    for name, each in versions.items():
        store.setlist(name, each)
    return store


# Setting an item of it appends a version, so that pickle's own way would keep the last version only.
copyreg.pickle(_VersionedKeyStore, lambda store: (load_objects, (dict(dict.items(store)),)))


# AWS lets the rule of a bucket with object lock be changed at any time; moto only while the bucket is empty.
put_object_lock_configuration = S3Backend.put_object_lock_configuration


def put_object_lock_configuration_always(self, bucket_name, *rest, **options):
    bucket = self.get_bucket(bucket_name)
    objects, bucket.keys = bucket.keys, _VersionedKeyStore()
    try:
        return put_object_lock_configuration(self, bucket_name, *rest, **options)
    finally:
        bucket.keys = objects


S3Backend.put_object_lock_configuration = put_object_lock_configuration_always


# moto takes a statement with a condition for a denial, whatever it says: "deny what is not encrypted" denies everything.
get_permission = FakeBucket.get_permission


def get_permission_without_conditions(self, action, resource):
    policy = self.policy
    if policy is None:
        return get_permission(self, action, resource)
    document = json.loads(policy)
    statements = document["Statement"] if isinstance(document["Statement"], list) else [document["Statement"]]
    plain = [statement for statement in statements if "Condition" not in statement]
    self.policy = json.dumps({**document, "Statement": plain}).encode()
    try:
        return get_permission(self, action, resource)
    finally:
        self.policy = policy


FakeBucket.get_permission = get_permission_without_conditions


class State:
    """What the services keep, in memory and in a file."""

    def __init__(self, file):
        self.file = file
        self.memory = Lock()  # one request at a time: a half-changed state is never written
        self.disk = Lock()
        self.changes = 0
        self.written = 0
        self.last = b""

    def dump(self):
        backends = [
            (service, account, region, vars(backend))
            for service in SERVICES
            for account, region, backend in get_backend(service).iter_backends()
        ]
        return pickle.dumps({"moto": moto.__version__, "backends": backends, "buckets": s3_backends.bucket_accounts})

    def load(self):
        if not os.path.exists(self.file):
            return
        with open(self.file, "rb") as stream:
            self.last = stream.read()
        try:
            state = pickle.loads(self.last)
        except Exception as error:
            # An empty beginning would look like AWS that lost a key.
            sys.exit(f"{self.file} cannot be read ({error!r}); put back a good one, or remove it to begin with nothing")
        if state["moto"] != moto.__version__:
            sys.exit(f"{self.file} was written by moto {state['moto']}, got {moto.__version__}; use that one or remove it")
        for service, account, region, content in state["backends"]:
            vars(get_backend(service)[account][region]).update(content)
        s3_backends.bucket_accounts.update(state["buckets"])

    def save(self, change):
        """Returns when the given change is in the file; one writing serves all changes that came before it."""
        with self.disk:
            if self.written >= change:
                return
            with self.memory:
                content, included = self.dump(), self.changes
            if content != self.last:
                self.write(content)
                self.last = content
            self.written = included

    def write(self, content):
        fresh = f"{self.file}.new"
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(fresh, self.file)
        folder = os.open(os.path.dirname(self.file), os.O_RDONLY)
        os.fsync(folder)
        os.close(folder)


def read_body(environ):
    """The whole body, before anybody else has to wait for it."""
    stream = environ["wsgi.input"]
    if environ.get("wsgi.input_terminated"):
        body = stream.read()
        environ["CONTENT_LENGTH"] = str(len(body))
        environ.pop("HTTP_TRANSFER_ENCODING", None)
    else:
        body = stream.read(int(environ.get("CONTENT_LENGTH") or 0))
    environ["wsgi.input"] = io.BytesIO(body)


def keeping(application, state):
    def answer(environ, start_response):
        read_body(environ)
        with state.memory:
            answered = application(environ, start_response)
            try:
                body = list(answered)
            finally:
                if hasattr(answered, "close"):
                    answered.close()
            state.changes += 1
            change = state.changes
        if environ["REQUEST_METHOD"] not in READING:
            state.save(change)
        return body

    return answer


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", required=True)
    options = parser.parse_args()
    os.environ["MOTO_PORT"] = str(options.port)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    state = State(os.path.abspath(options.state))
    state.load()
    application = DomainDispatcherApplication(create_backend_app)
    run_simple(
        options.host, options.port, keeping(application, state), threaded=True, request_handler=MotoRequestHandler
    )


main()
