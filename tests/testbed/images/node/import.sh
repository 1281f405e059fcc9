#!/bin/sh
# Puts the images of the control plane into containerd's store; kubelet unpacks them when it starts them.
set -eu
cd /import
containerd --config import-containerd.toml > containerd.log 2>&1 &
daemon=$!
trap 'cat containerd.log' EXIT
tries=0
until ctr --address /import/containerd.sock version > /dev/null 2>&1; do
  tries=$((tries + 1)); [ "$tries" -lt 100 ]
  sleep 0.2
done
ctr --address /import/containerd.sock --namespace k8s.io images import \
  --label=io.cri-containerd.pinned=pinned --all-platforms --no-unpack --digests images.tar
kill "$daemon"
wait "$daemon" || :
trap - EXIT
