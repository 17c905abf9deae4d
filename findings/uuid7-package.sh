#!/usr/bin/env bash
# PyPI's package uuid7 makes UUIDs of version 7 that are from the year 2200, to all others.
# Expected: the first 48 bits of a UUIDv7 are milliseconds since 1970 (RFC 9562), whichever library made it.
# Seen: the package uuid7 (0.1.0) follows a draft of 2021: 36 bits of seconds, then parts of a second. Its version
#   digit is 7, too, so every check passes. uuid-utils and uuid6 (Python) and uuid (JavaScript) follow the RFC.
# Why it matters: ids are sorted, paged and cleaned up by their time. Rows whose ids one Python job made stand 170
#   years after all others: always on top of a list that is newest first, and never old enough to go.
# What we do: order, pages and clean-up go by times that we wrote ourselves, never by the id of somebody else.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install uuid7==0.1.0 uuid6==2025.0.1 uuid-utils==1.2.0
npm_install uuid@14.0.3

cat >ids.py <<'PYTHON'
import subprocess, time, uuid
import uuid6, uuid_extensions, uuid_utils
js = subprocess.check_output(["node", "-p", "require('uuid').v7()"], text=True).strip()
made = {"uuid7": uuid_extensions.uuid7(), "uuid6": uuid6.uuid7(), "uuid-utils": uuid_utils.uuid7(), "uuid (JavaScript)": js}
for name, text in made.items():
    id = uuid.UUID(str(text))
    years = round((id.int >> 80) / 1000 / 31_556_952 - time.time() / 31_556_952)
    print(f"{name}: version {id.version}, {'now' if years == 0 else 'more than a century away' if years > 100 else years}")
PYTHON
compare "$python" ids.py <<'TEXT'
uuid7: version 7, more than a century away
uuid6: version 7, now
uuid-utils: version 7, now
uuid (JavaScript): version 7, now
TEXT
as_found
