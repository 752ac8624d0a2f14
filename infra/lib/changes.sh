# shellcheck shell=bash
# What has changed since the last check that passed, and which tests that concerns.

readonly CHECKED=target/checked

changed_files() {
  git ls-files --cached --others --exclude-standard -z |
    if [[ -e $CHECKED ]]; then
      xargs -0 -I{} find {} -maxdepth 0 -newer $CHECKED 2>/dev/null
    else
      tr '\0' '\n'
    fi
}

# A line for each package whose tests a change concerns: its name, and where not all of
# its tests are concerned, what their names begin with. Reads the changed files.
concerned() {
  local file room planes=() rooms=() all=
  while IFS= read -r file; do
    case $file in
      shared/* | migrations/* | Cargo.* | .cargo/* | */Cargo.toml) all=yes ;;
      data-plane/*) planes+=(data-plane) ;;
      routing/*) planes+=(routing-engine) ;;
      tests/simulator/* | tests/harness/*) planes+=(tests) ;;
      control-plane/src/*/* | web-templates/*/*)
        room=${file#control-plane/src/} room=${room#web-templates/}
        rooms+=("${room%%/*}::")
        ;;
      control-plane/* | web-templates/*) planes+=(control-plane) ;;
    esac
  done
  if [[ $all ]]; then
    printf '%s\n' shared routing-engine control-plane data-plane tests
  else
    ((${#planes[@]} == 0)) || printf '%s\n' "${planes[@]}" | sort -u
    # Every room has doors, and each door's test is the walk.
    ((${#rooms[@]} == 0)) || printf '%s\n' "control-plane $(printf '%s\n' "${rooms[@]}" | sort -u | tr '\n' ' ')access::"
  fi
}
