use std::{cell::RefCell, rc::Rc};

use super::*;

#[actix::test]
async fn a_question_that_panics_or_is_dropped_is_answered_all_the_same() {
    let told = Rc::new(RefCell::new(Vec::new()));
    let tell = || {
        let told = told.clone();
        move |answer| told.borrow_mut().push(answer)
    };
    run("lost", tell(), async { "answered" });
    run("lost", tell(), async { panic!("on purpose") });
    run("dropped", tell(), std::future::pending()).abort();
    actix_rt::task::yield_now().await;
    actix_rt::task::yield_now().await;
    assert_eq!(*told.borrow(), ["answered", "lost", "dropped"]);
}
