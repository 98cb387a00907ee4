//! What a request asks for.

use super::many::Calls;
use super::stream::Destination;
use crate::beam::{Pid, TermEnv, Word, atoms};

/// One request's wish, its terms still in the request's environment.
pub(super) enum Task<'e> {
    Call {
        module: Word,
        function: Word,
        arguments: Word,
        keywords: Word,
    },
    Eval {
        code: &'e [u8],
        locals: Word,
    },
    Exec {
        code: &'e [u8],
    },
    Getattr {
        object: Word,
        name: Word,
    },
    CallMethod {
        object: Word,
        name: Word,
        arguments: Word,
        keywords: Word,
    },
    ToTerm {
        object: Word,
    },
    Echo {
        term: Word,
    },
    /// What a context is given by the node; see `birth`.
    Birth {
        steps: Word,
    },
    /// The items of a call or an expression, one by one.
    Stream {
        source: Word,
        to: Destination,
    },
    /// The same, all together.
    Collect {
        source: Word,
    },
    /// A call, of which it is learned how long it takes.
    Learn {
        source: Word,
    },
    /// A function with one list of arguments after another.
    Many(Calls),
}

impl<'e> Task<'e> {
    pub(super) fn read(env: &'e TermEnv, payload: Word) -> Option<Self> {
        let known = atoms();
        match *env.get_tuple(payload)? {
            [kind, module, function, arguments, keywords] if kind == known.call => {
                Some(Self::Call {
                    module,
                    function,
                    arguments,
                    keywords,
                })
            }
            [kind, code, locals] if kind == known.eval => Some(Self::Eval {
                code: env.get_binary(code)?,
                locals,
            }),
            [kind, code] if kind == known.exec => Some(Self::Exec {
                code: env.get_binary(code)?,
            }),
            [kind, object, name] if kind == known.getattr => Some(Self::Getattr { object, name }),
            [kind, object, name, arguments, keywords] if kind == known.call_method => {
                Some(Self::CallMethod {
                    object,
                    name,
                    arguments,
                    keywords,
                })
            }
            [kind, object] if kind == known.to_term => Some(Self::ToTerm { object }),
            [kind, term] if kind == known.echo => Some(Self::Echo { term }),
            [kind, steps] if kind == known.birth => Some(Self::Birth { steps }),
            [kind, source, owner, tag, wanted] if kind == known.stream => Some(Self::Stream {
                source,
                to: Destination {
                    owner: Pid::of_term(env, owner)?,
                    tag,
                    // `infinity`, or a number.
                    wanted: env.get_int(wanted).map_or(u64::MAX, i64::cast_unsigned),
                },
            }),
            [kind, source] if kind == known.learn => Some(Self::Learn { source }),
            [kind, source] if kind == known.collect => Some(Self::Collect { source }),
            [kind, module, function, items, keywords]
                if kind == known.call_many || kind == known.map =>
            {
                Some(Self::Many(Calls {
                    module,
                    function,
                    items,
                    keywords,
                    single: kind == known.map,
                }))
            }
            _ => None,
        }
    }
}
