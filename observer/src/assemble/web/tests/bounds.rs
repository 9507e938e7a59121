use super::*;

#[test]
fn idle_connections_without_end_are_held_to_the_bounds() {
    let mut run = Run::new();
    let half = "GET / HTTP/1.1\r\nX-Fill: ".to_owned() + &"f".repeat(9000);
    for cookie in 0..150_000u64 {
        // Most are idle after one request; some never end theirs.
        if cookie % 10 == 0 {
            run.out(cookie, &half);
        } else {
            run.out(cookie, "GET / HTTP/1.1\r\n\r\n");
            run.back(cookie, "HTTP/1.1 204 N\r\n\r\n");
        }
        if cookie % 1000 == 0 {
            run.out.retain(|item| matches!(item, Item::Coverage { .. }));
            let web = &run.assembler.web;
            assert!(web.conversations.len() <= crate::assemble::stream::FLOWS);
            assert!(web.memory <= memory::MEMORY, "{}", web.memory);
            assert!(web.over.is_empty() && web.told.is_empty());
        }
    }
    // What was given up is said.
    assert!(run.out.iter().any(|item| matches!(item, Item::Coverage { .. })));
}

/// What conversations hold, counted anew.
fn held(run: &Run) -> usize {
    run.assembler.web.conversations.values().map(|talk| talk.weight()).sum()
}

#[test]
fn heads_that_never_end_on_many_connections_are_held_to_the_bound() {
    let mut run = Run::new();
    let half = "GET / HTTP/1.1\r\nX-Fill: ".to_owned() + &"f".repeat(8000);
    for cookie in 0..12_000 {
        run.out(cookie, &half);
    }
    assert!(held(&run) <= memory::MEMORY, "{}", held(&run));
    assert!(run.out.iter().any(|item| matches!(item, Item::Coverage { .. })));
}

#[test]
fn contents_that_wait_for_answers_are_held_to_the_bound() {
    let mut run = Run::new();
    let content = "x".repeat(32 * 1024);
    for cookie in 0..50 {
        for _ in 0..100 {
            run.out(cookie, "POST / HTTP/1.1\r\nContent-Length: 32768\r\n\r\n");
            run.settle();
            run.out(cookie, &content);
        }
        let kept = |talk: &Talk| {
            talk.asked
                .values()
                .filter_map(|asked| asked.sent.as_ref())
                .map(HttpBody::memory)
                .sum::<usize>()
        };
        let kept: usize = run.assembler.web.conversations.values().map(kept).sum();
        assert!(kept <= memory::MEMORY, "{kept}");
    }
    // None of them is lost: each has a result with its content.
    run.assembler.finish(run.now, &mut World, &mut run.out);
    let contents = run.out.iter().filter(|item| {
        matches!(item, Item::Answer(answer) if answer.http.sent.as_ref().is_some_and(|body| body.kept == 32_768))
    });
    let unread = run.out.iter().filter(|item| matches!(item, Item::Coverage { .. })).count();
    assert!(unread > 0 && unread < 50, "{unread}");
    assert!(contents.count() >= 100 * (50 - unread));
}

#[test]
fn what_an_idle_connection_has_told_is_not_held_against_it() {
    let mut run = Run::new();
    let content = "x".repeat(32 * 1024);
    for cookie in 0..4000 {
        run.out(cookie, "POST / HTTP/1.1\r\nContent-Length: 32768\r\n\r\n");
        run.settle();
        run.out(cookie, &content);
        run.back(cookie, "HTTP/1.1 204 N\r\n\r\n");
        run.out.retain(|item| matches!(item, Item::Coverage { .. }));
    }
    assert_eq!(run.out, []);
}
