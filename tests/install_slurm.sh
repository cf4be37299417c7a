#!/usr/bin/env bash
# The daemons that tests/launch/test_slurm.py starts, from the packages of Debian or Ubuntu; quiet, and at once where they are.
set -euo pipefail
PATH="$PATH:/usr/sbin"
[ "$(command -v munged slurmctld slurmd srun | wc -l)" -eq 4 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -qq --yes --no-install-recommends munge slurmctld slurmd slurm-client > /dev/null
