//! The table of shared values, from Python's side: no message, and nobody to wait for.

use super::call::here;
use super::stage::Stage;
use super::tools::{Tools, with_tools};
use crate::erlang_module::trampoline;
use crate::interp::Context;
use crate::interp::python_functions::{Methods, method};
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::state::{self, Asked, Full, Key, NotAdded, Value};
use std::sync::Arc;

pub(crate) static METHODS: Methods<8> = Methods([
    method(c"state_get", py_get, c"state_get(key, default=None)\n--\n\nThe value that Erlang and all contexts share under a key."),
    method(c"state_set", py_set, c"state_set(key, value)\n--\n\nShare a value under a key. RuntimeError when there are as many as there may be."),
    method(c"state_delete", py_delete, c"state_delete(key)\n--\n\nRemove a key; without effect when it is not there."),
    method(c"state_keys", py_keys, c"state_keys()\n--\n\nA list of all keys, in no particular order."),
    method(c"state_clear", py_clear, c"state_clear()\n--\n\nRemove all keys."),
    method(c"state_incr", py_incr, c"state_incr(key, amount=1)\n--\n\nAdd to the integer under a key in one step, and give the sum. A key that is not there counts as 0."),
    method(c"state_decr", py_decr, c"state_decr(key, amount=1)\n--\n\nSubtract from the integer under a key in one step, and give the difference. A key that is not there counts as 0."),
    ffi::PyMethodDef::zeroed(),
]);

/// What a function of the table takes: parameters, so many of them needed.
struct Signature {
    name: &'static str,
    parameters: &'static [&'static str],
    needed: usize,
}

/// A place for each parameter that any function has.
type Given<'py> = [Option<Object<'py>>; 2];

impl Signature {
    /// # Safety
    /// What CPython has passed to a function of the table.
    unsafe fn read<'py>(
        &self,
        py: Python<'py>,
        values: *const *mut ffi::PyObject,
        count: ffi::Py_ssize_t,
        names: *mut ffi::PyObject,
    ) -> Result<Given<'py>> {
        let (given, most) = (count.cast_unsigned(), self.parameters.len());
        if given > most {
            let text = format!("takes at most {most} arguments ({given} given)");
            return Err(self.wrong(py, &text));
        }
        let mut read: Given<'py> = [None, None];
        for (i, place) in read.iter_mut().enumerate().take(given) {
            // SAFETY: the caller's promise; the arguments live for the call.
            *place = Some(unsafe { Object::borrowed(py, *values.add(i)) });
        }
        if !names.is_null() {
            // SAFETY: as above; the names are a tuple.
            let names = unsafe { Object::borrowed(py, names) }.tuple_items()?;
            for (i, name) in names.iter().enumerate() {
                // SAFETY: as above; their values follow the others.
                let value = unsafe { Object::borrowed(py, *values.add(given + i)) };
                let name = name.str_lossy()?;
                match self.parameters.iter().position(|known| *known == name) {
                    Some(place) if read[place].is_none() => read[place] = Some(value),
                    Some(_) => return Err(self.wrong(py, &format!("got '{name}' twice"))),
                    None => {
                        return Err(self.wrong(py, &format!("has no parameter '{name}'")));
                    }
                }
            }
        }
        match read.iter().take(self.needed).position(Option::is_none) {
            Some(missing) => Err(self.missing(py, missing)),
            None => Ok(read),
        }
    }

    fn missing(&self, py: Python<'_>, place: usize) -> Raised {
        self.wrong(py, &format!("needs '{}'", self.parameters[place]))
    }

    fn wrong(&self, py: Python<'_>, what: &str) -> Raised {
        Raised::type_error(py, &format!("erlang.{}() {what}", self.name))
    }
}

/// The C function that a signature and a body make.
macro_rules! function {
    ($entry:ident, $name:literal, $parameters:expr, $needed:literal, $body:expr) => {
        unsafe extern "C" fn $entry(
            _module: *mut ffi::PyObject,
            values: *const *mut ffi::PyObject,
            count: ffi::Py_ssize_t,
            names: *mut ffi::PyObject,
        ) -> *mut ffi::PyObject {
            const SIGNATURE: Signature = Signature {
                name: $name,
                parameters: &$parameters,
                needed: $needed,
            };
            trampoline::object(|py| {
                // SAFETY: CPython passes what it says.
                let given = unsafe { SIGNATURE.read(py, values, count, names)? };
                ($body)(py, given)
            })
        }
    };
}

function!(py_get, "state_get", ["key", "default"], 1, get);
function!(py_set, "state_set", ["key", "value"], 2, set);
function!(py_delete, "state_delete", ["key"], 1, delete);
function!(py_keys, "state_keys", [], 0, keys);
function!(py_clear, "state_clear", [], 0, clear);
function!(py_incr, "state_incr", ["key", "amount"], 1, incr);
function!(py_decr, "state_decr", ["key", "amount"], 1, decr);

/// One that is always there: its place was looked at before.
fn there<'a, 'py>(py: Python<'py>, place: &'a Option<Object<'py>>) -> Result<&'a Object<'py>> {
    place
        .as_ref()
        .ok_or_else(|| Raised::type_error(py, "an argument is missing"))
}

/// Runs `work` with what conversions need.
fn with_means<T>(
    py: Python<'_>,
    work: impl FnOnce(&mut Tools<'_>, &Arc<Context>) -> Result<T>,
) -> Result<T> {
    let stage = Stage::here();
    let context = match &stage {
        Some(stage) => stage.context.clone(),
        None => here(py)?.1,
    };
    let mut owner = stage.as_ref().and_then(|stage| stage.borrow());
    with_tools(py, owner.as_deref_mut(), &context, |tools| {
        work(tools, &context)
    })
}

fn with_key<T>(key: &Object<'_>, work: impl FnOnce(Asked<'_>) -> T) -> Result<T> {
    if let Some(text) = key.exact_str()? {
        return Ok(work(Asked::Bytes(text)));
    }
    let py = key.py();
    with_means(py, |tools, context| {
        let env = context.envs.take();
        let worked = tools.lasting_term(py, &env, key).map(|word| {
            work(match env.get_binary(word) {
                Some(bytes) => Asked::Bytes(bytes),
                None => Asked::Term(env.hash(word), word),
            })
        });
        context.envs.put(env);
        worked
    })
}

fn get<'py>(py: Python<'py>, [key, default]: Given<'py>) -> Result<Object<'py>> {
    match with_key(there(py, &key)?, state::get)? {
        None => Ok(default.unwrap_or_else(|| Object::none(py))),
        Some(Value::Integer(integer)) => Object::int(py, integer),
        Some(value) => with_means(py, |tools, context| {
            let env = context.envs.take();
            let object = tools.object(py, &env, value.to_word(&env));
            context.envs.put(env);
            object
        }),
    }
}

fn set<'py>(py: Python<'py>, [key, value]: Given<'py>) -> Result<Object<'py>> {
    let (key, value) = (there(py, &key)?, there(py, &value)?);
    let value = with_means(py, |tools, context| {
        let env = context.envs.take();
        match tools.lasting_term(py, &env, value) {
            Ok(word) => {
                let (value, unused) = Value::of(env, word);
                if let Some(unused) = unused {
                    context.envs.put(unused);
                }
                Ok(value)
            }
            Err(raised) => {
                context.envs.put(env);
                Err(raised)
            }
        }
    })?;
    match with_key(key, |key| state::put(key, value))? {
        Ok(()) => Ok(Object::none(py)),
        Err(reason) => Err(full(py, &reason)),
    }
}

fn full(py: Python<'_>, Full(most): &Full) -> Raised {
    let text = format!("the shared state has its {most} entries: see max_state_entries");
    Raised::runtime_error(py, &text)
}

fn delete<'py>(py: Python<'py>, [key, _]: Given<'py>) -> Result<Object<'py>> {
    let _was_there = with_key(there(py, &key)?, state::remove)?;
    Ok(Object::none(py))
}

fn keys<'py>(py: Python<'py>, _none: Given<'py>) -> Result<Object<'py>> {
    let list = Object::list(py)?;
    with_means(py, |tools, context| {
        let mut env = context.envs.take();
        let mut listed = Ok(());
        for key in state::keys() {
            let word = match key {
                Key::Bytes(bytes) => env.binary(&bytes),
                Key::Term(_, stored) => env.copy(stored.word()),
            };
            listed = tools
                .object(py, &env, word)
                .and_then(|key| list.append(&key));
            env.clear();
            if listed.is_err() {
                break;
            }
        }
        context.envs.put(env);
        listed
    })?;
    Ok(list)
}

fn clear<'py>(py: Python<'py>, _none: Given<'py>) -> Result<Object<'py>> {
    py.detached(state::clear);
    Ok(Object::none(py))
}

fn incr<'py>(py: Python<'py>, [key, amount]: Given<'py>) -> Result<Object<'py>> {
    let key = there(py, &key)?;
    let amount = amount.map_or(Ok(1), |amount| amount.as_int())?;
    add(py, key, amount)
}

fn decr<'py>(py: Python<'py>, [key, amount]: Given<'py>) -> Result<Object<'py>> {
    let key = there(py, &key)?;
    let amount = amount.map_or(Ok(1), |amount| amount.as_int())?;
    let amount = amount.checked_neg().ok_or_else(|| too_large(py))?;
    add(py, key, amount)
}

fn add<'py>(py: Python<'py>, key: &Object<'py>, amount: i64) -> Result<Object<'py>> {
    match with_key(key, |key| state::add(key, amount))? {
        Ok(sum) => Object::int(py, sum),
        Err(NotAdded::Full(reason)) => Err(full(py, &reason)),
        Err(NotAdded::NoInteger) => Err(Raised::type_error(
            py,
            "what is there is not an integer, or has more than 64 bits",
        )),
        Err(NotAdded::TooLarge) => Err(too_large(py)),
    }
}

fn too_large(py: Python<'_>) -> Raised {
    Raised::overflow_error(py, "the sum has more than 64 bits")
}
