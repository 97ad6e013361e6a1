# Sourced by up.sh: munged, MariaDB, slurmdbd, slurmctld and two slurmd.
CTLD_PORT=$((PORT0 + 1))
mkdir -p "$STATE"/{munge,db,dbd,dev} "$STATE"/run/{munge,db} "$STATE"/slurm/{ctld,log,spool}

# ---- munge: the keys that the daemons know each other by ---------------------------------------------------------
[ -e "$STATE/munge/key" ] || head -c 1024 /dev/urandom >"$STATE/munge/key"
chmod 400 "$STATE/munge/key"
chmod 700 "$STATE/munge"
chown -R munge:munge "$STATE/munge" "$STATE/run/munge"
daemon munged munge munged --foreground --force --num-threads=2 --socket="$MUNGE_SOCKET" \
  --key-file="$STATE/munge/key" --log-file="$STATE/munge/log" --pid-file="$STATE/munge/pid" --seed-file="$STATE/munge/seed"

# ---- MariaDB on a unix socket, with no care for a power cut -------------------------------------------------------
DB_SOCKET=$STATE/run/db/db.sock
chown mysql:mysql "$STATE/db" "$STATE/run/db"
[ -d "$STATE/db/mysql" ] || mariadb-install-db --no-defaults --user=mysql --datadir="$STATE/db" --skip-test-db \
  --auth-root-authentication-method=normal --innodb-log-file-size=8M --innodb-flush-method=nosync >"$STATE/log/install-db.log" 2>&1 ||
  die "mariadb-install-db failed."
daemon mariadb mysql mariadbd --no-defaults --datadir="$STATE/db" --socket="$DB_SOCKET" --pid-file="$STATE/run/db/pid" \
  --skip-networking --skip-log-bin --performance-schema=off --max-connections=40 --innodb-buffer-pool-size=64M \
  --innodb-log-file-size=8M --innodb-flush-method=nosync --innodb-flush-log-at-trx-commit=0 --skip-innodb-doublewrite \
  --innodb-lock-wait-timeout=900
wait_for 20 munge munge -n --socket="$MUNGE_SOCKET"
wait_for 30 MariaDB mariadb-admin --no-defaults --socket="$DB_SOCKET" -u root ping
mariadb --no-defaults --socket="$DB_SOCKET" -u root -e "
  create database if not exists slurm_acct_db;
  create user if not exists slurm@localhost identified by 'not-a-secret';
  grant all on slurm_acct_db.* to slurm@localhost"

# ---- slurmdbd ---------------------------------------------------------------------------------------------------
cat >"$STATE/dbd/slurmdbd.conf" <<C
AuthType=auth/munge
AuthInfo=socket=$MUNGE_SOCKET
DbdAddr=127.0.0.1
DbdHost=localhost
DbdPort=$PORT0
SlurmUser=slurm
CommunicationParameters=NoInAddrAny
LogFile=$STATE/dbd/slurmdbd.log
PidFile=$STATE/dbd/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=not-a-secret
StorageLoc=slurm_acct_db
C
chmod 600 "$STATE/dbd/slurmdbd.conf"
chown -R slurm:slurm "$STATE/dbd"
# slurmdbd reads its file next to $SLURM_CONF; libmariadb finds the database's socket by MYSQL_UNIX_PORT.
daemon slurmdbd slurm env MYSQL_UNIX_PORT="$DB_SOCKET" SLURM_CONF="$STATE/dbd/slurm.conf" slurmdbd -D

# ---- the cluster ------------------------------------------------------------------------------------------------
# A GPU is a device file to SLURM. A link to /dev/null is one, too, and the number at its end is the GPU's.
for g in 0 1 2 3; do ln -sfn /dev/null "$STATE/dev/nvidia$g"; done

OOM=${OOM:-$([ -w /sys/fs/cgroup/memory/cgroup.procs ] && say cgroup || say poll)}
if [ "$OOM" = cgroup ]; then
  # The kernel ends what takes too much, as on real clusters; Contain adds their `.extern` step.
  limits=$'ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup\nPrologFlags=Alloc,Contain'
else
  limits=$'ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nPrologFlags=Alloc\nJobAcctGatherParams=OverMemoryKill'
fi
cat >"$STATE/slurm/cgroup.conf" <<C
CgroupAutomount=no
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
C
# cred_expire: a requeued job waits until the credentials of its last run have expired; two minutes if nothing is said.
# config_overrides: two real processors pose as eight on each node.
cat >"$SLURM_CONF" <<C
ClusterName=$NAME
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$CTLD_PORT
SlurmUser=slurm
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$MUNGE_SOCKET,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation=$STATE/slurm/ctld
SlurmdSpoolDir=$STATE/slurm/spool/%n
SlurmctldPidFile=$STATE/slurm/ctld/slurmctld.pid
SlurmdPidFile=$STATE/slurm/spool/%n.pid
SlurmctldLogFile=$STATE/slurm/log/slurmctld.log
SlurmdLogFile=$STATE/slurm/log/%n.log
$limits
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=1,requeue_delay=1
SlurmctldTimeout=10
SlurmdTimeout=10
KillWait=2
MinJobAge=${MINJOBAGE:-300}
MaxArraySize=1001
ReturnToService=2
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStoragePort=$PORT0
AccountingStoragePass=$MUNGE_SOCKET
AccountingStorageTRES=gres/gpu,gres/gpu:a100,gres/gpu:h100
AccountingStorageEnforce=associations,limits,qos
AccountingStoreFlags=job_comment
NodeName=${NAME}01 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT0 + 2)) CPUs=8 RealMemory=16000
NodeName=${NAME}02 NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT0 + 3)) CPUs=8 RealMemory=16000 Gres=gpu:a100:2,gpu:h100:2
PartitionName=DEFAULT DefaultTime=01:00:00 DefMemPerCPU=1024 PriorityTier=10 PreemptMode=OFF State=UP
PartitionName=day Nodes=${NAME}01 Default=YES MaxTime=1-00:00:00
PartitionName=devel Nodes=${NAME}01 MaxTime=06:00:00
PartitionName=gpu Nodes=${NAME}02 MaxTime=2-00:00:00
PartitionName=gpu_devel Nodes=${NAME}02 MaxTime=06:00:00
PartitionName=scavenge Nodes=${NAME}01,${NAME}02 MaxTime=1-00:00:00 PriorityTier=1 PreemptMode=REQUEUE GraceTime=0
C
cat >"$STATE/slurm/gres.conf" <<C
NodeName=${NAME}02 Name=gpu Type=a100 File=$STATE/dev/nvidia[0-1] Flags=nvidia_gpu_env
NodeName=${NAME}02 Name=gpu Type=h100 File=$STATE/dev/nvidia[2-3] Flags=nvidia_gpu_env
C
chown -R slurm:slurm "$STATE"/slurm/{ctld,log}
mkdir -p "$STATE"/slurm/spool/{"${NAME}01","${NAME}02"}
export SLURM_CONF

wait_for 60 slurmdbd sacctmgr -n show cluster
if [ -z "$(sacctmgr -nP show user "${USERS%% *}")" ]; then
  {
    sacctmgr -iQ add cluster "$NAME"
    sacctmgr -iQ add account "pi_$NAME" Cluster="$NAME" Description=bed Organization=bed
    for u in $USERS; do sacctmgr -iQ add user "$u" Cluster="$NAME" Account="pi_$NAME" DefaultAccount="pi_$NAME"; done
  } >"$STATE/log/sacctmgr.log" 2>&1 || die "The accounting could not be filled."
fi
daemon slurmctld slurm slurmctld -D -f "$SLURM_CONF"
for n in 01 02; do daemon "slurmd-$NAME$n" root slurmd -D -N "$NAME$n" -f "$SLURM_CONF"; done
nodes_idle() { [ "$(sinfo -h -N -o '%N %t' | sort -u | grep -c ' idle$')" = 2 ]; }
wait_for 40 "both nodes" nodes_idle
