"""The guide's job script under a real SLURM: its daemons run on this machine as the current user, with all their files
in one temporary folder, and are stopped afterwards."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

GUIDE = (Path(__file__).parents[2] / "tutorials/guide/experiments.md").read_text(encoding="utf-8")
(SCRIPT,) = re.findall(r"^```\n(#!/bin/bash\n#SBATCH .*?)^```", GUIDE, re.M | re.S)
(SWEEP,) = re.findall(r"^```toml\n(title = .*?\[over\]\n.*?)^```", GUIDE, re.M | re.S)
LONGER = (
    re.sub(r"epochs = .*\n", "", SWEEP.partition("[over]")[0])
    + """[over]
"training.epochs" = [1, 30]
"rule" = ["bp", "fa"]
"training.seed" = [0, 1]
"""
)  # 8 runs: the first ends soon, and the others leave time to cancel the job
PROGRAMS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "scancel", "scontrol", "sinfo")
PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
SECONDS = 120  # the timeout of every wait

# One machine configured with 64 processors, so that the script's 16 tasks of 4 processors fit on it.
CONFIGURATION = """
ClusterName=minifa
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
ReturnToService=2
KillWait=3
NodeName={host} NodeAddr=127.0.0.1 CPUs=64 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore")]  # of third-party packages


class Cluster:
    """SLURM on this machine.

    Args:
        folder: for all of its files.
    """

    def __init__(self, folder: Path) -> None:
        import pwd  # missing on Windows

        self.folder, self.daemons, self.outputs = folder, dict[str, subprocess.Popen[bytes]](), list[Path]()
        for name in ("munge", "state", "spool", "bin", "tmp"):
            (folder / name).mkdir(mode=0o700)
        with contextlib.ExitStack() as stack:
            free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(2)]
            ports = [one.getsockname()[1] for one in free]
        host = socket.gethostname().partition(".")[0]
        user = pwd.getpwuid(os.geteuid()).pw_name
        text = CONFIGURATION.format(folder=folder, host=host, ports=ports, user=user)
        self.configuration = folder / "slurm.conf"
        self.configuration.write_text(text, encoding="utf-8")
        for name in ("minifa", "dask"):  # the commands of this Python and of this checkout
            command = folder / "bin" / name
            command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n', encoding="utf-8")
            command.chmod(0o700)
        outside = {key: value for key, value in os.environ.items() if not key.startswith(("SLURM", "SBATCH", "SRUN"))}
        self.environment = {
            **outside,
            "SLURM_CONF": str(self.configuration),
            "PATH": os.pathsep.join([str(folder / "bin"), PATH]),
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TMPDIR": str(folder / "tmp"),
        }

    def start(self) -> None:
        munge = self.folder / "munge"
        (munge / "key").write_bytes(secrets.token_bytes(128))
        (munge / "key").chmod(0o600)
        files = {"socket": "socket", "key-file": "key", "log-file": "log", "pid-file": "pid", "seed-file": "seed"}
        self._daemon("munged", "--foreground", "--force", *(f"--{key}={munge / name}" for key, name in files.items()))
        self.wait((munge / "socket").exists, "munged has no socket")
        self._daemon("slurmctld", "-D", "-c")
        self._daemon("slurmd", "-D", "-c")
        self.wait(lambda: self.ask("sinfo", "-h", "-o", "%t", check=False).strip() == "idle", "the machine is not idle")

    def _daemon(self, name: str, *arguments: str) -> None:
        with open(self.folder / f"{name}.log", "wb") as log:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(name, path=PATH) or name, *arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask(self, *command: str, folder: Path | None = None, check: bool = True) -> str:
        """The output of a SLURM command."""
        done = subprocess.run(
            command, env=self.environment, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        assert not check or done.returncode == 0, f"{command}: {done.stderr}\n{self.logs()}"
        return done.stdout

    def wait(self, condition: Callable[[], object], what: str) -> None:
        end = time.monotonic() + SECONDS
        while not condition():
            ended = [name for name, one in self.daemons.items() if one.poll() is not None]
            assert not ended, f"{ended} ended\n{self.logs()}"
            assert time.monotonic() < end, f"{what} after {SECONDS} s\n{self.logs()}"
            time.sleep(0.1)

    def logs(self) -> str:
        """The ends of what the daemons and the jobs have written."""
        files = [*sorted(self.folder.glob("*.log")), *filter(Path.exists, self.outputs)]
        return "\n".join(f"--- {one.name}\n{one.read_text(errors='replace')[-3000:]}" for one in files)

    def submit(self, folder: Path, tasks: int) -> str:
        """Submits the guide's script with this number of tasks instead of sixteen. Returns the job's number."""
        job = self.ask("sbatch", "--parsable", f"--ntasks={tasks}", "job.sh", folder=folder).strip()
        self.outputs.append(folder / f"slurm-{job}.out")
        return job

    def facts(self, job: str) -> dict[str, str]:
        """SLURM's record of a job."""
        return dict(re.findall(r"(\S+?)=(\S*)", self.ask("scontrol", "-o", "show", "job", job)))

    def has_ended(self, job: str) -> bool:
        return self.facts(job)["JobState"] not in ("PENDING", "CONFIGURING", "RUNNING", "COMPLETING")

    def wait_for_end(self, job: str) -> str:
        """Returns the final state of the job."""
        self.wait(lambda: self.has_ended(job), "the job has no end")
        return self.facts(job)["JobState"]

    def processes(self, job: str | None = None) -> list[int]:
        """The processes started by this cluster or by one of its jobs, recognised by their environment."""
        mine = {f"SLURM_CONF={self.configuration}", *([f"SLURM_JOB_ID={job}"] if job else [])}
        pids = []
        for one in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if mine <= set((one / "environ").read_bytes().decode(errors="replace").split("\0")):
                    pids.append(int(one.name))
        return [one for one in pids if one != os.getpid()]

    def stop(self) -> None:
        if "slurmctld" in self.daemons:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.ask("scancel", "--me", check=False)
        for name in reversed(self.daemons):
            self.daemons[name].terminate()
        end = time.monotonic() + 20
        while self.processes() and time.monotonic() < end:
            for one in self.daemons.values():
                one.poll()
            time.sleep(0.1)
        for one in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
        for daemon in self.daemons.values():
            daemon.kill()
            daemon.wait(timeout=30)


@pytest.fixture(scope="module")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    if missing:
        pytest.skip(f"SLURM is not installed ({', '.join(missing)}): Debian's packages are slurm-wlm and munge")
    if not Path("/proc/self/environ").exists():
        pytest.skip("there is no /proc here, by which SLURM follows a job's processes")
    pytest.importorskip("distributed", reason="the package distributed is not installed")
    cluster = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


def folder_with(tmp_path: Path, sweep: str, name: str = "job") -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "job.sh").write_text(SCRIPT, encoding="utf-8")
    (folder / "rates.toml").write_text(sweep, encoding="utf-8")
    return folder


def lines_of(folder: Path) -> list[dict[str, str]]:
    """The lines of the sweep's table by the number of the run, without the seconds, which differ each time."""
    try:
        with open(folder / "runs/sweep-rates/sweep.csv", encoding="utf-8", newline="") as file:
            lines = [{**line, "seconds": ""} for line in csv.DictReader(file)]
    except FileNotFoundError:
        return []
    return sorted(lines, key=lambda line: int(line["run"]))


def lines_without_slurm(slurm: Cluster, tmp_path: Path, sweep: str) -> Sequence[dict[str, str]]:
    """The lines of the same sweep without SLURM and without Dask."""
    folder = folder_with(tmp_path, sweep, "here")
    slurm.ask("minifa", "sweep", "rates.toml", "--threads", "4", "--jobs", "1", folder=folder)
    return lines_of(folder)


def output_of(folder: Path, job: str) -> str:
    """The output of the job up to the end of the sweep: Dask may log more while its processes end."""
    output = (folder / f"slurm-{job}.out").read_text(encoding="utf-8")
    return re.split("^(?:written to|interrupted)", output, maxsplit=1, flags=re.M)[0]


def test_the_job_script_of_the_guide_makes_the_same_table_as_a_local_sweep(slurm, tmp_path):
    folder = folder_with(tmp_path, SWEEP)
    slurm.ask("sbatch", "--test-only", "job.sh", folder=folder)  # all 64 requested processors
    job = slurm.submit(folder, tasks=2)
    facts = slurm.facts(job)
    assert (facts["NumTasks"], facts["CPUs/Task"], facts["TimeLimit"]) == ("2", "4", "04:00:00")
    here = lines_without_slurm(slurm, tmp_path, SWEEP)
    assert slurm.wait_for_end(job) == "COMPLETED", slurm.logs()
    assert slurm.facts(job)["ExitCode"] == "0:0"
    output = output_of(folder, job)
    assert "24 of 24 runs" in output and "Traceback" not in output
    assert len(re.findall("Starting worker compute stream", output)) == 2
    slurm.wait(lambda: not slurm.processes(job), "processes of the job are left")  # above all its scheduler
    assert len(here) == 24 and not any(line["error"] for line in here)
    assert lines_of(folder) == here


def test_a_cancelled_job_is_submitted_again_and_another_job_is_not_affected(slurm, tmp_path):
    """Both are on the same machine, and each has its own scheduler."""
    folder, other = folder_with(tmp_path, LONGER), folder_with(tmp_path, LONGER, "other")
    job, beside = slurm.submit(folder, 1), slurm.submit(other, 1)
    slurm.wait(lambda: lines_of(folder) or slurm.has_ended(job), "no run is finished")
    slurm.ask("scancel", job)
    assert slurm.wait_for_end(job) == "CANCELLED"
    slurm.wait(lambda: not slurm.processes(job), "processes of the job are left")
    begun = lines_of(folder)
    assert 1 <= len(begun) < 8, "the job was not cancelled in its middle"
    output = (folder / f"slurm-{job}.out").read_text(encoding="utf-8")
    assert f"interrupted, {len(begun)} of 8 runs are in the table. The same command resumes" in output

    again, here = slurm.submit(folder, 1), lines_without_slurm(slurm, tmp_path, LONGER)
    assert slurm.wait_for_end(again) == slurm.wait_for_end(beside) == "COMPLETED", slurm.logs()
    first_lines = [" ".join(output_of(*one).split()) for one in ((folder, again), (other, beside))]
    assert f"{8 - len(begun)} to run" in first_lines[0] and "8 to run" in first_lines[1]
    assert lines_of(folder) == lines_of(other) == here
