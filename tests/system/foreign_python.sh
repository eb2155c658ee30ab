#!/usr/bin/env bash
# foreign_python.sh ARCHITECTURE FOLDER: Debian 12's Python 3.11 for another processor (arm64, armhf), for an emulator:
#   qemu-aarch64 -L FOLDER FOLDER/usr/bin/python3.11
# 7 packages and an index of 9 MB are fetched, with signatures checked; needs no root and changes nothing else.
set -euo pipefail
architecture=$1
folder=$(realpath -m "$2")
mkdir -p "$(dirname "$folder")"
work=$(mktemp -d "$folder.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache,debs,root,parts}
: >"$work/status"
cat >"$work/sources.list" <<END
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main
END
options=(-q -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o Acquire::Languages=none
    -o "Dir::State=$work" -o "Dir::State::lists=$work/lists" -o "Dir::State::status=$work/status"
    -o "Dir::Cache=$work/cache" -o "Dir::Etc::SourceList=$work/sources.list" -o "Dir::Etc::SourceParts=$work/parts"
    -o "APT::Sandbox::User=$(id -un)")
apt-get "${options[@]}" update
cd "$work/debs"
apt-get "${options[@]}" download python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libgcc-s1 \
    zlib1g libexpat1
for package in *.deb; do dpkg-deb -x "$package" "$work/root"; done
rm -rf "$folder"
mv "$work/root" "$folder"
