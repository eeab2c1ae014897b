"""The sandbox of a worker. PROBES run inside a real one, in place of its decoders."""

import ctypes
import json
import os
import platform
import re
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import hmdb.video
from hmdb.video.protocol import Confinement
from hmdb.video.worker.sandbox import ARCHITECTURES, CALLS, _program
from hmdb.video.worker_process import ROOT
from tests.support.videos import write_video

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() not in ARCHITECTURES, reason="Landlock and seccomp"
)

libc = ctypes.CDLL(None)

# Each tries something that a decoder never needs. A module of its own, which also runs without the tests.
PROBES = r"""
import ctypes, errno, mmap, os, resource, socket

libc = ctypes.CDLL(None, use_errno=True)
secret, parent, port = "@SECRET", os.getppid(), @PORT
sched_setattr = {"x86_64": 314, "aarch64": 274}[os.uname().machine]

def call(name, *arguments):
    ctypes.set_errno(0)
    if getattr(libc, name)(*arguments) in (-1, 2**32 - 1, 2**64 - 1):
        raise OSError(ctypes.get_errno(), name)

def reading(path):
    with open(path, "rb") as file:
        file.read(1)

def connecting(family, address):
    with socket.socket(family) as one:
        one.connect(address)

def binding(family, address):
    with socket.socket(family) as one:
        one.bind(address)

def forking():
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)

def running():
    os.posix_spawn("/bin/true", ["true"], {})

def looking_into_memory():
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), 8)
    call("process_vm_readv", parent, vector, 1, vector, 1, 0)

def new_code():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()

PROBES = {
    "open a file": lambda: reading(secret),
    "open a file to write": lambda: os.open(secret, os.O_RDWR),
    "look whether there is a file": lambda: os.stat(secret),
    "list a folder": lambda: os.listdir("/"),
    "read the page's environment": lambda: reading(f"/proc/{parent}/environ"),
    "read its own environment": lambda: reading("/proc/self/environ"),
    "open the page's memory": lambda: reading(f"/proc/{parent}/mem"),
    "read the page's memory": looking_into_memory,
    "attach to the page": lambda: call("ptrace", 0x4206, parent, 0, 0),
    "signal the page": lambda: os.kill(parent, 0),
    "delete": lambda: os.unlink(secret),
    "rename": lambda: os.rename(secret, secret + "2"),
    "make a folder": lambda: os.mkdir(secret + "3"),
    "link": lambda: os.symlink("/", secret + "4"),
    "change rights": lambda: os.chmod(secret, 0o777),
    "connect": lambda: connecting(socket.AF_INET, ("127.0.0.1", port)),
    "listen": lambda: binding(socket.AF_INET, ("127.0.0.1", 0)),
    "listen on a Unix socket": lambda: binding(socket.AF_UNIX, secret + "5"),
    "start a process": forking,
    "run a program": running,
    "become it": lambda: os.execv("/bin/true", ["true"]),
    "take new code": new_code,
    "become dumpable": lambda: call("prctl", 4, 1, 0, 0, 0),
    "leave a namespace": lambda: call("unshare", 0x10000000),
    "a file in memory": lambda: os.close(os.memfd_create("m")),
    "become real-time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)),
    "raise its priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, -5),
    "lower its priority": lambda: os.setpriority(os.PRIO_PROCESS, 0, 19),
    "choose its scheduling": lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0)),
    "set its scheduling again": lambda: os.sched_setparam(0, os.sched_param(0)),
    "set all of its scheduling": lambda: call("syscall", sched_setattr, 0, bytes([48, *[0] * 47]), 0),
    "limit others": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
}

def outcome(name):
    try:
        PROBES[name]()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
"""
IN_WORKER = """
import hmdb.video.worker.decord_reader as decord_reader, probes
def frames(self, indices):
    raise Exception(probes.outcome(list(probes.PROBES)[indices[0]]))
decord_reader.DecordReader.frames = frames
"""
# Only its owner may be able to start the interpreter, so both processes change their user later.
ANOTHER_USER = """
import os, hmdb.video.worker.sandbox as sandbox
def confine(memory_mb, confine=sandbox.confine):
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
    return confine(memory_mb=memory_mb)
sandbox.confine = confine
"""
ASK = """
import json, os, sys
from hmdb.errors import VideoError
from hmdb.video import confinement, open_video
import probes
confinement()  # starts the worker
if len(sys.argv) > 2:
    os.setgid(65534)
    os.setuid(65534)
video, outcomes = open_video(sys.argv[1]), {}
for index, name in enumerate(probes.PROBES):
    try:
        video.frames_at([index])
    except VideoError as error:
        outcomes[name] = str(error.__cause__).split(": ")[-1]
print(json.dumps(outcomes))
"""
FREE = """
import json, os, pathlib, probes
probes.parent = os.getppid()
for name in probes.PROBES:
    pathlib.Path(probes.secret).touch()
    child = os.fork()
    if not child:
        os._exit(probes.outcome(name) != "done")
    if os.waitpid(child, 0)[1] == 0:
        print(name)
"""
WITHOUT = {
    "seccomp": "import hmdb.video.worker.sandbox as s; s._seccomp = lambda libc: False\n",
    "Landlock": "import hmdb.video.worker.sandbox as s; s._landlock = lambda libc: 0\n",
}
DENIED = {"EPERM", "EACCES"}
# These need rights that a container may withhold even from root.
NOT_EVERYWHERE = {"attach to the page", "read the page's memory", "open the page's memory", "leave a namespace"}
NOT_EVERYWHERE |= {"become real-time", "raise its priority"}
# Landlock does not cover these.
BY_SECCOMP_ALONE = {
    "look whether there is a file",
    "change rights",
    "start a process",
    "take new code",
    "become dumpable",
    "leave a namespace",
    "a file in memory",
    "limit others",
    "lower its priority",
    "choose its scheduling",
    "set its scheduling again",
    "set all of its scheduling",
}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that any user can read, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name, socket.create_server(("127.0.0.1", 0)) as server:
        path = Path(name)
        path.chmod(0o777)
        write_video(path / "clip.mp4", num_frames=60)  # one for each probe
        path.joinpath("secret").write_text("secret")
        path.joinpath("secret").chmod(0o666)
        port = str(server.getsockname()[1])
        path.joinpath("probes.py").write_text(PROBES.replace("@SECRET", str(path / "secret")).replace("@PORT", port))
        yield path


def run(folder: Path, code: str, *arguments: str) -> str:
    environment = {"PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def outcomes(folder: Path, *, as_nobody: bool = False, without: str = "") -> dict[str, str]:
    """Returns the result of each probe in a worker."""
    inside = WITHOUT.get(without, "") + ANOTHER_USER * as_nobody + IN_WORKER
    folder.joinpath("sitecustomize.py").write_text(inside)
    results: dict[str, str] = json.loads(run(folder, ASK, str(folder / "clip.mp4"), *["nobody"] * as_nobody))
    return results


def denied(results: Mapping[str, str]) -> set[str]:
    return {name for name, result in results.items() if result in DENIED}


def test_probes_work_outside_the_sandbox(folder: Path) -> None:
    done = set(run(folder, FREE).splitlines())
    assert done | NOT_EVERYWHERE == set(re.findall(r'^    "(.*?)":', PROBES, re.MULTILINE))


@pytest.mark.parametrize("as_nobody", [False, True], ids=["as we are", "as nobody"])
@pytest.mark.parametrize("without", ["", "Landlock"])
def test_a_worker_can_only_decode(folder: Path, as_nobody: bool, without: str) -> None:
    if as_nobody and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    results = outcomes(folder, as_nobody=as_nobody, without=without)
    assert len(results) >= 20
    assert {name: result for name, result in results.items() if name not in denied(results)} == {}
    assert folder.joinpath("secret").read_text() == "secret"


@pytest.mark.skipif(libc.syscall(444, None, 0, 1) < 6, reason="Landlock denies less in older kernels")
def test_landlock_alone_denies_most(folder: Path) -> None:
    results = outcomes(folder, without="seccomp")
    assert set(results) - denied(results) <= BY_SECCOMP_ALONE


def test_the_confinement_is_reported() -> None:
    confinement = hmdb.video.confinement()
    assert confinement.complete
    assert confinement == Confinement(
        no_new_privileges=True, not_dumpable=True, landlock=confinement.landlock, seccomp=True, memory_mb=3072
    )
    assert not Confinement().complete


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_the_filter_allows_only_the_listed_calls(machine: str) -> None:
    column, architecture = ARCHITECTURES[machine]
    program = [instruction for (instruction,) in struct.iter_unpack("8s", _program(column, architecture))]

    def verdict(call: int, *arguments: int, of: int = architecture) -> int:
        """Runs the filter like the kernel."""
        data = struct.pack("=iIQ6Q", call, of, 0, *arguments, *[0] * (6 - len(arguments)))
        at = value = 0
        while True:
            code, then, otherwise, constant = struct.unpack("=HBBI", program[at])
            at += 1
            match code:
                case 0x20:
                    (value,) = struct.unpack_from("=I", data, constant)
                case 0x15:
                    at += then if value == constant else otherwise
                case 0x45:
                    at += then if value & constant else otherwise
                case 0x06:
                    return int(constant)

    allowed, eperm, enosys, killed = 0x7FFF0000, 0x50001, 0x50026, 0x80000000
    number = {name: call for name, numbers in CALLS.items() if (call := numbers[column]) is not None}
    listed = {call: name for name, call in number.items()}
    bare = {listed[call] for call in listed if verdict(call) == allowed}
    assert set(listed.values()) - bare == {"clone", "clone3", "prctl", "tgkill"}
    assert {verdict(call) for call in range(600) if call not in listed} == {eperm}
    assert verdict(next(iter(listed)), of=0) == killed
    assert verdict(number["clone"], 0x10F00) == allowed
    assert verdict(number["clone3"]) == enosys
    assert verdict(number["mmap"], 0, 0, 3) == allowed
    assert verdict(number["mmap"], 0, 0, 7) == verdict(number["mprotect"], 0, 0, 5) == eperm
    assert verdict(number["tgkill"], os.getpid()) == allowed
    assert verdict(number["prlimit64"], 1) == eperm
