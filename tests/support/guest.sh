#!/bin/bash
# The first process of a User-Mode Linux guest: makes a network mount and runs a command on it.
#
#   guest.sh BOX KIND SECONDS      KIND is nfs or smb; BOX/run is the command
#
# The root file system is the host's. Whatever is mounted here is seen here only; the rest of it is really written to, so
# nothing below writes outside BOX and the mounts. BOX/output and BOX/status get what the command wrote and its exit
# code; BOX/boot what went wrong before it.
set -u
box=$1 kind=$2 seconds=$3
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec >>"$box/boot" 2>&1 </dev/null

finish() { sync; echo o >/proc/sysrq-trigger; sleep 60; }
trap finish EXIT
must() { "$@" || { echo "failed: $*"; exit 1; }; }

system() {
  must mount -t proc proc /proc
  mount -t sysfs sysfs /sys
  mount -t devtmpfs devtmpfs /dev 2>/dev/null # some kernels have done it already
  mountpoint -q /dev || exit 1
  mkdir -p /dev/shm /dev/pts
  for place in /dev/shm /run /mnt; do must mount -t tmpfs tmpfs $place; done
  must ip link set lo up

  # The kernel asks for modules by /sbin/modprobe, which would look below /lib/modules: the host's.
  mkdir -p /mnt/root/lib/modules
  must mount --bind /usr/lib/uml/modules /mnt/root/lib/modules
  printf '#!/bin/sh\nexec modprobe -d /mnt/root "$@"\n' >/mnt/modprobe
  chmod +x /mnt/modprobe
  echo /mnt/modprobe >/proc/sys/kernel/modprobe
  /mnt/modprobe fuse

  # What is exported: a roomy one, and one that is soon full.
  mkdir -p /mnt/export /mnt/share /mnt/small
  must mount -t tmpfs -o size=512m,mode=777 tmpfs /mnt/export
  mkdir /mnt/export/small
  must mount -t tmpfs -o size=8m,mode=777 tmpfs /mnt/export/small
}

nfs() {
  /mnt/modprobe nfsd
  /mnt/modprobe nfsv4
  must mount -t tmpfs tmpfs /var/lib/nfs
  mkdir -p /var/lib/nfs/{rpc_pipefs,v4recovery,sm,sm.bak}
  touch /var/lib/nfs/{etab,rmtab,state}
  must mount -t rpc_pipefs rpc_pipefs /var/lib/nfs/rpc_pipefs
  must mount -t nfsd nfsd /proc/fs/nfsd
  for clock in nfsv4leasetime nfsv4gracetime; do echo 10 >/proc/fs/nfsd/$clock; done # 90 s each otherwise
  must rpcbind -w
  local options=rw,insecure,no_root_squash,no_subtree_check
  must exportfs -i -o $options,fsid=0 127.0.0.1:/mnt/export
  must exportfs -i -o $options,fsid=1 127.0.0.1:/mnt/export/small
  must rpc.nfsd --no-nfs-version 3 --nfs-version 4.2 2
  echo Y >/proc/fs/nfsd/v4_end_grace # nobody has anything to reclaim
  must rpc.mountd --no-nfs-version 3
  must timeout 300 mount -t nfs4 -o vers=4.2 127.0.0.1:/ /mnt/share
  must timeout 300 mount -t nfs4 -o vers=4.2 127.0.0.1:/small /mnt/small
}

smb() {
  /mnt/modprobe cifs
  local samba=/mnt/samba place name
  mkdir -p $samba/{private,lock,state,cache,run,rpc}
  chmod 700 $samba/private
  cat >$samba/conf <<END
[global]
  server role = standalone server
  server min protocol = SMB3_11
  interfaces = lo
  bind interfaces only = yes
  smb ports = 445
  disable netbios = yes
  disable spoolss = yes
  load printers = no
  passdb backend = tdbsam
  private dir = $samba/private
  lock directory = $samba/lock
  state directory = $samba/state
  cache directory = $samba/cache
  pid directory = $samba/run
  ncalrpc dir = $samba/rpc
  log file = $samba/log
END
  for name in export export/small; do
    printf '[%s]\n  path = /mnt/%s\n  read only = no\n  force user = root\n' ${name##*/} $name
    printf '  case sensitive = no\n  map archive = no\n  store dos attributes = no\n  ea support = no\n'
  done >>$samba/conf
  printf 'guest\nguest\n' | must smbpasswd -c $samba/conf -s -a root
  must smbd -D -s $samba/conf
  for _ in $(seq 1000); do
    (exec 3<>/dev/tcp/127.0.0.1/445) && break
    sleep 0.1
  done
  # As the Azure Files CSI driver mounts, https://github.com/kubernetes-sigs/azurefile-csi-driver
  local options=vers=3.1.1,mfsymlinks,nobrl,cache=strict,actimeo=30,nosharesock,serverino
  options+=,dir_mode=0777,file_mode=0777,username=root,password=guest
  must timeout 300 mount -t cifs -o $options //127.0.0.1/export /mnt/share
  must timeout 300 mount -t cifs -o $options //127.0.0.1/small /mnt/small
}

system
$kind
timeout --kill-after=10 "$seconds" bash "$box/run" >"$box/output" 2>&1
echo $? >"$box/status"
