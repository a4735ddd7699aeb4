//! The fuzz targets about this crate, run over what they begin with: what was found once stays found without the fuzzers.

#[path = "../../../../fuzz/replay.rs"]
mod inputs;

#[path = "../../../../fuzz/fuzz_targets/bodies.rs"]
mod bodies;
#[path = "../../../../fuzz/fuzz_targets/call.rs"]
mod call;
#[path = "../../../../fuzz/fuzz_targets/cel.rs"]
mod cel;
#[path = "../../../../fuzz/fuzz_targets/client.rs"]
mod client;
#[path = "../../../../fuzz/fuzz_targets/decimal.rs"]
mod decimal;
#[path = "../../../../fuzz/fuzz_targets/details.rs"]
mod details;
#[path = "../../../../fuzz/fuzz_targets/detect.rs"]
mod detect;
#[path = "../../../../fuzz/fuzz_targets/events.rs"]
mod events;
#[path = "../../../../fuzz/fuzz_targets/import.rs"]
mod import;
#[path = "../../../../fuzz/fuzz_targets/jose.rs"]
mod jose;
#[path = "../../../../fuzz/fuzz_targets/json.rs"]
mod json;
#[path = "../../../../fuzz/fuzz_targets/judge.rs"]
mod judge;
#[path = "../../../../fuzz/fuzz_targets/mcp.rs"]
mod mcp;
#[path = "../../../../fuzz/fuzz_targets/oauth.rs"]
mod oauth;
#[path = "../../../../fuzz/fuzz_targets/pattern.rs"]
mod pattern;
#[path = "../../../../fuzz/fuzz_targets/policy.rs"]
mod policy;
#[path = "../../../../fuzz/fuzz_targets/scope.rs"]
mod scope;
#[path = "../../../../fuzz/fuzz_targets/seen.rs"]
mod seen;
#[path = "../../../../fuzz/fuzz_targets/service.rs"]
mod service;
#[path = "../../../../fuzz/fuzz_targets/shape.rs"]
mod shape;
#[path = "../../../../fuzz/fuzz_targets/signing.rs"]
mod signing;
#[path = "../../../../fuzz/fuzz_targets/socket.rs"]
mod socket;
#[path = "../../../../fuzz/fuzz_targets/sql.rs"]
mod sql;
#[path = "../../../../fuzz/fuzz_targets/webauthn.rs"]
mod webauthn;
#[path = "../../../../fuzz/fuzz_targets/yaml.rs"]
mod yaml;

inputs::replayed!(
    bodies, call, cel, client, decimal, details, detect, events, import, jose, json, judge, mcp, oauth,
    pattern, policy, scope, seen, service, shape, signing, socket, sql, webauthn, yaml
);
