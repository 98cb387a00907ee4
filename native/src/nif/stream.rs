//! What the process of a stream does for it.

use super::word;
use crate::beam::{Shared, atoms};
use crate::interp::Request;
use rustler::{Env, Term};

/// `stream_demand(Request, More)`: so many more items are wanted, or `infinity`. Any process may say so, at any time.
#[rustler::nif]
fn stream_demand<'a>(env: Env<'a>, request: Shared<Request>, more: Term<'a>) -> Term<'a> {
    if request.flow().want(more.decode().unwrap_or(u64::MAX)) {
        Request::go_on(&request);
    }
    word(env, atoms().ok)
}

/// `stream_end(Request)`: no item comes after this. The process of the stream then cancels the request, if it has not
/// ended.
#[rustler::nif]
fn stream_end<'a>(env: Env<'a>, request: Shared<Request>) -> Term<'a> {
    request.flow().end();
    word(env, atoms().ok)
}
