#!/usr/bin/env bash
# A traceparent with flags that are not assigned yet: four OpenTelemetry SDKs, four answers.
# Expected: as W3C Trace Context says, a receiver reads the bits it knows (sampled) and sends all others as zero.
# Seen: Rust does so, for Level 2's random bit (03), too. Python passes every bit on. Go drops the whole header
#   and begins a new trace. JavaScript passes ff on as 0ff: three digits, which is no traceparent any more.
# Why it matters: a trace that crosses several languages breaks at one of them. Which one depends on a byte from a
#   caller outside that nobody here reads.
# What we do: whatever hands a caller's flags on keeps only the bits that are defined.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

trace=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331
pip_install opentelemetry-api==1.45.2
npm_install @opentelemetry/core@2.12.1 @opentelemetry/api@1.9.1
go_build otel-go go.opentelemetry.io/otel@v1.47.0 go.opentelemetry.io/otel/trace@v1.47.0 <<'GO'
package main

import (
	"context"
	"fmt"
	"go.opentelemetry.io/otel/propagation"
	"os"
)

func main() {
	sent := propagation.MapCarrier{}
	in := propagation.MapCarrier{"traceparent": os.Args[1]}
	propagation.TraceContext{}.Inject(propagation.TraceContext{}.Extract(context.Background(), in), sent)
	fmt.Println(sent["traceparent"])
}
GO
cargo_build otel-rust 'opentelemetry = { version = "=0.33.1", default-features = false, features = ["trace"] }
opentelemetry_sdk = { version = "=0.33.1", default-features = false, features = ["trace"] }' <<'RUST'
use opentelemetry::propagation::TextMapPropagator;
use std::collections::HashMap;

fn main() {
    let propagator = opentelemetry_sdk::propagation::TraceContextPropagator::new();
    let got = HashMap::from([("traceparent".to_owned(), std::env::args().nth(1).unwrap())]);
    let mut sent = HashMap::new();
    propagator.inject_context(&propagator.extract(&got), &mut sent);
    println!("{}", sent.get("traceparent").map_or("", String::as_str));
}
RUST
cat >otel.py <<'PYTHON'
import sys
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator as Propagator
sent = {}
Propagator().inject(sent, Propagator().extract({"traceparent": sys.argv[1]}))
print(sent.get("traceparent", ""))
PYTHON
cat >otel.mjs <<'JS'
import { W3CTraceContextPropagator } from '@opentelemetry/core'
import { ROOT_CONTEXT, defaultTextMapGetter, defaultTextMapSetter } from '@opentelemetry/api'
const propagator = new W3CTraceContextPropagator()
const sent = {}, got = { traceparent: process.argv[2] }
propagator.inject(propagator.extract(ROOT_CONTEXT, got, defaultTextMapGetter), sent, defaultTextMapSetter)
console.log(sent.traceparent ?? '')
JS
passed_on() {
  local flags of sent
  for flags in 01 03 09 ff; do
    for of in Rust:./otel-rust Go:./otel-go "Python:$python otel.py" "JavaScript:node otel.mjs"; do
      # shellcheck disable=SC2086 # a command and its words
      sent=$(${of#*:} "$trace-$flags")
      sent=${sent#"$trace"-}
      echo "$flags, ${of%%:*}: ${sent:-nothing}"
    done
  done
}
compare passed_on <<'TEXT'
01, Rust: 01
01, Go: 01
01, Python: 01
01, JavaScript: 01
03, Rust: 01
03, Go: 03
03, Python: 03
03, JavaScript: 03
09, Rust: 01
09, Go: nothing
09, Python: 09
09, JavaScript: 09
ff, Rust: 01
ff, Go: nothing
ff, Python: ff
ff, JavaScript: 0ff
TEXT
as_found
