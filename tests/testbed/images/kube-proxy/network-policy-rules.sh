#!/bin/sh
# Sends every new connection from or to a pod address to the policy process on
# NFQUEUE 100. With no process on the queue such connections drop.
# network-policy-rules.sh up|down [POD_CIDR]
set -eu
cidr=${2:-10.244.0.0/24}
down() {
  for hook in INPUT FORWARD; do
    while iptables -w -C $hook -j KNP 2>/dev/null; do iptables -w -D $hook -j KNP; done
  done
  iptables -w -F KNP 2>/dev/null || :
  iptables -w -X KNP 2>/dev/null || :
}
down
[ "$1" = down ] && exit
iptables -w -N KNP
iptables -w -A KNP -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN
iptables -w -A KNP -s "$cidr" -j NFQUEUE --queue-num 100
iptables -w -A KNP -d "$cidr" -j NFQUEUE --queue-num 100
iptables -w -I INPUT -j KNP
iptables -w -I FORWARD -j KNP
