//! What HTTP says about messages, at the proxy door: those without a body, those before the final one, lengths, and
//! answers that come while something is still being sent.

use crate::proxy_streaming::{CHUNKED, Stage, stage};
use placet_testkit::{Wire, until};
use serde_json::json;
use std::{fs, thread};

impl Stage {
    /// An answer that upstream gives as it stands here, whole.
    fn answered(&self, line: &str, answer: &str) -> String {
        let mut agent = self.ask(line, "connection: close\r\n", "");
        let mut upstream = self.upstream.accept();
        upstream.send(answer);
        drop(upstream);
        agent.rest()
    }
}

/// The head of an answer and what follows it.
fn parts(all: &str) -> (&str, &str) {
    all.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{all:?}"))
}

#[test]
fn answers_without_a_body_have_none_and_say_no_other_length() {
    let stage = stage();
    for (answer, status) in [
        ("HTTP/1.1 204 No Content\r\netag: \"1\"\r\nconnection: close\r\n\r\n", "204"),
        ("HTTP/1.1 304 Not Modified\r\netag: \"1\"\r\ncontent-length: 7\r\nconnection: close\r\n\r\n", "304"),
    ] {
        let all = stage.answered("GET /get/1", answer);
        let (head, body) = parts(&all);
        assert!(head.starts_with(&format!("HTTP/1.1 {status}")) && head.contains("etag: \"1\""), "{all}");
        assert_eq!(body, "");
        assert!(!head.contains("transfer-encoding") && !head.contains("content-length: 0"), "{all}");
    }
    assert_eq!(stage.outcome()["outcome"], "done");
}

#[test]
fn what_comes_before_the_final_answer_is_none() {
    let stage = stage();
    let all = stage.answered(
        "GET /get/1",
        "HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nlast",
    );
    let (head, body) = parts(&all);
    assert!(head.starts_with("HTTP/1.1 200 ") && !head.contains("preload"), "{all}");
    assert_eq!(body, "last");
    // Nobody asked to speak something else.
    let all = stage.answered(
        "GET /get/1",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
    );
    assert!(all.starts_with("HTTP/1.1 502 ") && all.contains("\"happened\":\"unknown\""), "{all}");
}

#[test]
fn a_length_that_is_not_kept_is_no_whole_answer() {
    let stage = stage();
    let long = "x".repeat(100_000);
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: 100001\r\n\r\n{long}"),
        format!("{CHUNKED}\r\n186a0\r\n{long}\r\n"),
    ] {
        let all = stage.answered("GET /get/1", &answer);
        assert!(all.starts_with("HTTP/1.1 200 ") && !all.ends_with("0\r\n\r\n"), "it looks whole");
        let announced = all.contains("content-length: 100001\r\n");
        assert!(!announced || parts(&all).1.len() < 100_001);
    }
    // Two lengths, or a length and chunks, are no answer at all.
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nabc",
    ] {
        let all = stage.answered("GET /get/1", answer);
        assert!(all.starts_with("HTTP/1.1 502 "), "{answer}: {all}");
    }
}

#[test]
fn an_agent_that_waits_to_be_told_is_told_to_go_on_only_where_its_body_is_wanted() {
    let stage = stage();
    let expecting = "content-length: 9\r\nexpect: 100-continue\r\n";
    let mut agent = stage.ask("PUT /put/7", expecting, "");
    agent.until("HTTP/1.1 100 Continue\r\n\r\n");
    agent.send("nine here");
    let mut upstream = stage.upstream.accept();
    let seen = upstream.until("nine here");
    assert!(!seen.contains("expect"), "{seen}");
    upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    agent.until("\r\n\r\nok");
    // What is refused before its body counts is refused at once.
    for (line, headers) in [
        ("PUT /nowhere/7", expecting.to_owned()),
        ("PUT /put/../7", expecting.to_owned()),
        ("PUT /put/7", format!("{expecting}content-range: bytes 0-1/2\r\n")),
    ] {
        let mut agent = stage.ask(line, &format!("{headers}connection: close\r\n"), "");
        let all = agent.until("placet-decision: deny");
        assert!(all.starts_with("HTTP/1.1 4") && !all.contains("100 Continue"), "{line}: {all}");
    }
    assert!(stage.upstream.is_quiet());
}

#[test]
fn an_answer_that_comes_while_the_upload_goes_on_is_the_answer() {
    let stage = stage();
    let mut agent = stage.ask("PUT /put/7", "transfer-encoding: chunked\r\n", "");
    agent.send_chunk("the beginning");
    let mut upstream = stage.upstream.accept();
    upstream.until("the beginning");
    // It has seen enough, says so and hangs up.
    upstream.send("HTTP/1.1 413 Content Too Large\r\ncontent-length: 8\r\nconnection: close\r\n\r\ntoo much");
    let all = agent.until("too much");
    assert!(all.starts_with("HTTP/1.1 413 ") && all.contains("placet-decision: allow"), "{all}");
    drop(upstream);
    let outcome = stage.outcome();
    assert_eq!((&outcome["outcome"], &outcome["status"]), (&json!("done"), &json!(413)));
}

#[test]
fn a_large_upload_takes_no_more_memory_than_a_small_one() {
    let stage = stage();
    let (pid, piece) = (stage.story.server.id(), vec![b'x'; 1 << 20]);
    // The most that the process has had in memory, in KiB.
    let most = || -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    };
    if !std::path::Path::new("/proc/self/status").exists() {
        eprintln!("no /proc here to read memory from");
        return;
    }
    let upload = |megabytes: usize| {
        let mut agent = stage.ask("PUT /put/7", &format!("content-length: {}\r\n", megabytes << 20), "");
        let mut upstream: Wire = stage.upstream.accept();
        let piece = piece.clone();
        let sending = thread::spawn(move || {
            for _ in 0..megabytes {
                agent.send(&piece);
            }
            agent
        });
        let read = upstream.drain((megabytes << 20) as u64);
        assert_eq!(read, (megabytes << 20) as u64);
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        sending.join().unwrap().until("\r\n\r\nok");
    };
    upload(4);
    let before = most();
    upload(256);
    let after = most();
    assert!(after - before < 32 * 1024, "{before} KiB before, {after} KiB after 256 MiB");
}

#[test]
fn an_upstream_that_reads_slowly_slows_its_agent_down() {
    let stage = stage();
    let mut agent = stage.ask("PUT /put/7", &format!("content-length: {}\r\n", 64 << 20), "");
    let upstream = stage.upstream.accept();
    // Nothing is read over there: what the agent can write is bounded by the buffers in between.
    let written = agent.write_until_full(64 << 20);
    assert!(written < 32 << 20, "{written} bytes were taken in that nobody reads");
    drop((agent, upstream));
    until("the outcome", || (stage.outcome()["outcome"] == "unknown").then_some(()));
}

#[test]
fn threat_09_a_request_whose_framing_is_ambiguous_ends_before_there_is_a_door() {
    let stage = stage();
    let body = "5\r\nhello\r\n0\r\n\r\n";
    for headers in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: +5\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "x: a\r\n content-length: 5\r\n",
    ] {
        let mut agent = stage.ask("PUT /put/7", headers, body);
        let all = agent.rest();
        assert!(all.starts_with("HTTP/1.1 400 "), "{headers}: {all}");
    }
    assert!(stage.upstream.is_quiet());
    // Chunks count beside a length (RFC 9112 §6.1), it goes on framed anew, and what stands behind it is no request:
    // who went by the length before it got here has hidden nothing in it.
    for headers in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    ] {
        let hidden = format!(
            "GET /proxy/{}/get/1 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
            stage.name, stage.token
        );
        let mut agent = stage.ask("PUT /put/7", headers, &format!("{body}{hidden}"));
        let mut upstream = stage.upstream.accept();
        let seen = upstream.until("0\r\n\r\n");
        assert!(!seen.contains("content-length") && !seen.contains("/get/1"), "{seen}");
        upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok");
        let all = agent.rest();
        assert_eq!(all.matches("HTTP/1.1 ").count(), 1, "{all}");
        drop(upstream);
        assert!(stage.upstream.is_quiet());
    }
}
