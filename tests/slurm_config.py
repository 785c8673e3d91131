"""The configuration of the SLURM that tests start. Options: https://slurm.schedmd.com/slurm.conf.html."""

from __future__ import annotations

import random
import secrets
import socket
from contextlib import suppress
from pathlib import Path

KILL_WAIT = 5  # seconds from SIGTERM to SIGKILL
MEMORY_MB = 16000  # that each node says it has; not counted, but more cannot be asked for
# A low job loses its node to a high one and is queued again. A requeued job waits cred_expire seconds.
CONFIG = """\
ClusterName=loopback
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdSpoolDir={folder}/spool.%n
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait={kill_wait}
SlurmctldTimeout=10
SlurmdTimeout=5
MessageTimeout=3
MinJobAge=600
{nodes}
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE MaxTime=UNLIMITED State=UP
PartitionName=high Nodes=ALL PriorityTier=2 PreemptMode=OFF MaxTime=UNLIMITED State=UP
"""


def write_config(folder: Path, names: list[str], cpus: int) -> None:
    """Write ``slurm.conf``, a key for munged, and the folder of the state, all into ``folder``."""
    (folder / "state").mkdir()
    ctld, *slurmd = _free_ports(1 + len(names))
    host = socket.gethostname().split(".")[0]
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
        f"RealMemory={MEMORY_MB}"
        for name, port in zip(names, slurmd, strict=True)
    ]
    text = CONFIG.format(host=host, port=ctld, folder=folder, kill_wait=KILL_WAIT, nodes="\n".join(nodes))
    (folder / "slurm.conf").write_text(text)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))


def _free_ports(count: int) -> list[int]:
    """Below those that the kernel hands out for outgoing connections, so that a restart finds them free."""
    ports: list[int] = []
    for port in random.SystemRandom().sample(range(15000, 30000), 200):
        with socket.socket() as attempt, suppress(OSError):
            attempt.bind(("127.0.0.1", port))
            ports.append(port)
        if len(ports) == count:
            return ports
    raise AssertionError(f"found {len(ports)} free ports of {count}")
