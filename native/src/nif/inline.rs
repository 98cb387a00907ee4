//! Running calls on the calling scheduler.

use super::call::consume_reductions_of;
use super::{target, word};
use crate::beam::{Word, atoms};
use crate::interp::inline::{self, Asked, Refusal, marks};
use crate::interp::registry;
use rustler::types::tuple::make_tuple;
use rustler::{Encoder, Env, Term};

/// `inline_call(Target, Payload, Limit, Learned, Patient) ->
/// mailbox | again | learn | {ok, Value} | {error, Reason} | {raised, Error, Story}`.
/// `Limit` is a number of milliseconds, or `infinity`. `mailbox`: it was not run; `learn`: neither, and the one in the
/// mailbox is to tell how long it took; `again`, if the caller is patient: another scheduler is inside.
fn inline_call<'a>(
    env: Env<'a>,
    [at, payload, limit, learned, patient]: [Term<'a>; 5],
) -> Term<'a> {
    let context = match target(env, at) {
        Ok(context) => context,
        // The way through the mailbox says so.
        Err(_gone) => return word(env, atoms().mailbox),
    };
    let asked = Asked {
        env,
        payload: payload.as_c_arg(),
        limit: limit.decode().unwrap_or(u64::MAX),
        learned: learned.as_c_arg() == atoms().true_,
        patient: patient.as_c_arg() == atoms().true_,
    };
    match inline::call(&context, &asked) {
        Ok(done) => {
            consume_reductions_of(env, done.took);
            let result = term(env, done.result);
            match done.story {
                None => result,
                Some(story) => {
                    let raised = [word(env, atoms().raised), result, term(env, story)];
                    make_tuple(env, &raised)
                }
            }
        }
        Err(Refusal::Learning) => word(env, atoms().learn),
        Err(Refusal::Busy) if asked.patient => word(env, atoms().again),
        Err(_by_the_mailbox) => word(env, atoms().mailbox),
    }
}

plain_nif!("inline_call", 5, inline_call);

/// A term that was made in the caller's environment.
fn term(env: Env<'_>, word: Word) -> Term<'_> {
    // SAFETY: made there by `inline::call`.
    unsafe { Term::new(env, word) }
}

/// `inline_mark(Module, Function) -> none | inline | auto`, of atoms.
fn inline_mark<'a>(env: Env<'a>, [module, function]: [Term<'a>; 2]) -> Term<'a> {
    let marked = marks::of(module.as_c_arg(), function.as_c_arg());
    word(env, marked.unwrap_or(atoms().none))
}

plain_nif!("inline_mark", 2, inline_mark);

/// `inline_marks([{Module, Function, inline | auto}]) -> ok`: those are marked, and no others. All are atoms.
#[rustler::nif]
fn inline_marks<'a>(env: Env<'a>, rows: Vec<(Term<'a>, Term<'a>, Term<'a>)>) -> Term<'a> {
    let rows = rows.into_iter();
    let marks = rows.map(|(module, function, dispatch)| {
        (
            (module.as_c_arg(), function.as_c_arg()),
            dispatch.as_c_arg(),
        )
    });
    marks::publish(marks.collect());
    word(env, atoms().ok)
}

/// `inline_allow(On) -> ok`: the switch of the node.
#[rustler::nif]
fn inline_allow(env: Env<'_>, on: bool) -> Term<'_> {
    inline::allow(on);
    word(env, atoms().ok)
}

/// `inline_limit(Milliseconds) -> ok`: no call may take longer; or `infinity`.
#[rustler::nif]
fn inline_limit<'a>(env: Env<'a>, limit: Term<'a>) -> Term<'a> {
    inline::limit(limit.decode().unwrap_or(u64::MAX));
    word(env, atoms().ok)
}

/// `inline_supported() -> boolean()`: whether this Python can be entered by schedulers at all.
#[rustler::nif]
fn inline_supported() -> bool {
    crate::runtime::is_running() && inline::is_supported()
}

/// `inline_seen(Serial) -> undefined | {Calls, Slow, Interrupted, [{Refusal, Count}], Learned}`, where `Learned` is a list
/// of `{Module, Function, Trusted, Streak, Needed, Disappointments}`.
#[rustler::nif]
fn inline_seen(env: Env<'_>, serial: u64) -> Term<'_> {
    let context = registry().by_serial(serial);
    let inline = context.as_ref().and_then(|context| context.inline.as_ref());
    let Some(inline) = inline else {
        return word(env, atoms().undefined);
    };
    let [calls, slow, interrupted] = inline.figures.counted();
    let refused: Vec<_> = inline
        .figures
        .refused()
        .map(|(refusal, count)| (word(env, refusal.word()), count))
        .collect();
    let learned: Vec<_> = inline
        .learned()
        .into_iter()
        .map(|(name, learner)| {
            let (streak, needed) = learner.progress();
            let name = [&name.module, &name.function]
                .map(|text| String::from_utf8_lossy(text).into_owned().encode(env));
            let [module, function] = name;
            make_tuple(
                env,
                &[
                    module,
                    function,
                    learner.is_trusted().encode(env),
                    streak.encode(env),
                    needed.encode(env),
                    learner.disappointments().encode(env),
                ],
            )
        })
        .collect();
    (calls, slow, interrupted, refused, learned).encode(env)
}
