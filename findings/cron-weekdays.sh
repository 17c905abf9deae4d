#!/usr/bin/env bash
# "0 9 * * 1" is Monday, Tuesday or Sunday, and "0 9 13 * 5" three things, too.
# Expected: libraries that read cron expressions agree with cron: 0 is Sunday, and a day of the month beside a day
#   of the week means either of them.
# Seen: croner (Rust), croniter (Python) and cron-parser (JavaScript) do. The crate cron counts from 1 = Sunday,
#   APScheduler from 0 = Monday, and both want the day of the month and the day of the week at once. The crate cron
#   also wants a field for seconds, so five fields are an error there.
# Why it matters: a schedule that a user types in a browser, which shows the next dates, runs on another day on the
#   server, or almost never. Nobody sees an error.
# What we do: take croner where schedules come from users; else write days as names, and never both kinds of day.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

pip_install croniter==7.0.0 APScheduler==3.11.3
npm_install cron-parser@5.10.6
cargo_build schedules 'chrono = { version = "=0.4.42", default-features = false, features = ["std"] }
cron = "=0.17.0"
croner = "=4.0.3"' <<'RUST'
use chrono::{DateTime, Utc};
use std::str::FromStr;

fn main() {
    let start: DateTime<Utc> = "2026-01-01T00:00:00Z".parse().unwrap();
    let show = |of: &str, days: Vec<DateTime<Utc>>| {
        let days: Vec<_> = days.iter().map(|day| day.format("%a %F").to_string()).collect();
        println!("{of}: {}", days.join(", "));
    };
    for expression in std::env::args().skip(1) {
        let croner = croner::Cron::from_str(&expression).unwrap();
        show("croner", croner.iter_from(start, croner::Direction::Forward).take(3).collect());
        let cron = cron::Schedule::from_str(&format!("0 {expression}")).unwrap();
        show("cron with seconds", cron.after(&start).take(3).collect());
    }
}
RUST
cat >schedules.py <<'PYTHON'
import sys
from datetime import datetime, timedelta, timezone
from apscheduler.triggers.cron import CronTrigger
from croniter import croniter
start = datetime(2026, 1, 1, tzinfo=timezone.utc)
for expression in sys.argv[1:]:
    entries = croniter(expression, start)
    print("croniter:", ", ".join(entries.get_next(datetime).strftime("%a %F") for _ in range(3)))
    trigger, last, days = CronTrigger.from_crontab(expression, timezone=timezone.utc), start, []
    for _ in range(3):
        last = trigger.get_next_fire_time(last, last + timedelta(seconds=1))
        days.append(last.strftime("%a %F"))
    print("APScheduler:", ", ".join(days))
PYTHON
cat >schedules.mjs <<'JS'
import { CronExpressionParser } from 'cron-parser'
for (const expression of process.argv.slice(2)) {
  const entries = CronExpressionParser.parse(expression, { currentDate: '2026-01-01T00:00:00Z', tz: 'UTC' })
  const days = [1, 2, 3].map(() => entries.next().toDate())
  const name = (day) => day.toUTCString().slice(0, 3) + ' ' + day.toISOString().slice(0, 10)
  console.log('cron-parser:', days.map(name).join(', '))
}
JS
dates() {
  for expression in "0 9 * * 1" "0 9 13 * 5"; do
    echo "$expression"
    ./schedules "$expression"
    "$python" schedules.py "$expression"
    node schedules.mjs "$expression"
  done
}
compare dates <<'TEXT'
0 9 * * 1
croner: Mon 2026-01-05, Mon 2026-01-12, Mon 2026-01-19
cron with seconds: Sun 2026-01-04, Sun 2026-01-11, Sun 2026-01-18
croniter: Mon 2026-01-05, Mon 2026-01-12, Mon 2026-01-19
APScheduler: Tue 2026-01-06, Tue 2026-01-13, Tue 2026-01-20
cron-parser: Mon 2026-01-05, Mon 2026-01-12, Mon 2026-01-19
0 9 13 * 5
croner: Fri 2026-01-02, Fri 2026-01-09, Tue 2026-01-13
cron with seconds: Thu 2026-08-13, Thu 2027-05-13, Thu 2028-01-13
croniter: Fri 2026-01-02, Fri 2026-01-09, Tue 2026-01-13
APScheduler: Sat 2026-06-13, Sat 2027-02-13, Sat 2027-03-13
cron-parser: Fri 2026-01-02, Fri 2026-01-09, Tue 2026-01-13
TEXT
as_found
