#!/bin/bash
# The first process of the node: namespaces of its own for network, mounts and processes, so that nothing that the
# cluster does reaches the machine, and all of it ends with this process. Arguments: the node's folder and address.
set -euo pipefail
folder=$1
mkdir -p "$folder/log" "$folder/run"
mount --bind "$folder/log" /var/log
mkdir -p /run/containerd
mount --bind "$folder/run" /run/containerd
# the kubelet wants these values of the kernel, which belong to the whole machine: it may see them, not set them
while read -r name value; do
    echo "$value" >"$folder/${name//\//.}"
    mount --bind "$folder/${name//\//.}" "/proc/sys/$name"
done <<'VALUES'
vm/overcommit_memory 1
vm/panic_on_oom 0
kernel/panic 10
kernel/panic_on_oops 1
kernel/keys/root_maxkeys 1000000
kernel/keys/root_maxbytes 25000000
VALUES
ip link set lo up
ip address add "$2/32" dev lo
echo 1 >/proc/sys/net/ipv4/ip_forward
touch "$folder/ready"
# a shell that waits takes in the processes that lost their parent
while true; do sleep 3600; done
