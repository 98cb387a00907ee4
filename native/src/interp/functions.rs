//! Finding functions by their names, and calling them.

use super::owner::Owner;
use crate::beam::{TermEnv, TermType, Word};
use crate::py::{Object, Python, Raised, Result, ffi};
use crate::term::Conversion;

/// So many arguments of a call need no memory but the stack.
pub(super) const FEW: usize = 8;

impl Owner {
    /// A module's or function's name: atom, binary, or string.
    pub(super) fn name<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        word: Word,
    ) -> Result<Object<'py>> {
        if let Some(name) = self.names.known(py, word) {
            return Ok(name);
        }
        if let Some(bytes) = env.get_binary(word) {
            return match std::str::from_utf8(bytes) {
                Ok(text) => Object::str(py, text),
                Err(_) => Err(Raised::value_error(py, "a name must be valid UTF-8")),
            };
        }
        self.names.get(py, env, word)
    }

    pub(super) fn function<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        namespace: u64,
        module: Word,
        function: Word,
    ) -> Result<Object<'py>> {
        let known = self.known_function(py, env, namespace, module, function)?;
        if let Some(known) = known {
            return Ok(known);
        }
        let module = self.name(py, env, module)?;
        let function = self.name(py, env, function)?;
        self.named_function(py, namespace, &module, &function)
    }

    /// The same, if the module was imported.
    pub(super) fn known_function<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        namespace: u64,
        module: Word,
        function: Word,
    ) -> Result<Option<Object<'py>>> {
        let function = self.name(py, env, function)?;
        if let Some(module) = self.modules.get(py, module) {
            return self.lending(|| attribute(&module, &function)).map(Some);
        }
        let name = self.name(py, env, module)?;
        let found = if is_own_namespace(&name) {
            self.namespaces.module(py, namespace)?
        } else {
            let Some(found) = loaded(&name)? else {
                return Ok(None);
            };
            if env.term_type(module) == TermType::Atom {
                self.modules.add(py, module, &name, &found);
            }
            found
        };
        self.lending(|| attribute(&found, &function)).map(Some)
    }

    pub(super) fn named_function<'py>(
        &mut self,
        py: Python<'py>,
        namespace: u64,
        module: &Object<'py>,
        function: &Object<'py>,
    ) -> Result<Object<'py>> {
        let module = self.module(py, namespace, module)?;
        self.lending(|| attribute(&module, function))
    }

    fn module<'py>(
        &mut self,
        py: Python<'py>,
        namespace: u64,
        name: &Object<'py>,
    ) -> Result<Object<'py>> {
        if is_own_namespace(name) {
            self.namespaces.module(py, namespace)
        } else {
            self.lending(|| imported(name))
        }
    }

    pub(super) fn call<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        options: Conversion,
        function: &Object<'py>,
        arguments: Word,
        keywords: Word,
    ) -> Result<Object<'py>> {
        let mut convert = self.converter(py, env, options);
        let positional = env.list(arguments).count();
        let named = env.map_size(keywords).unwrap_or(0);
        // The first place is for the function, which may put an object there that it is a method of.
        let mut few = [const { None }; FEW + 1];
        let mut many = Vec::new();
        let values: &mut [Option<Object<'py>>] = if positional + named <= FEW {
            &mut few
        } else {
            many.resize_with(positional + named + 1, || None);
            &mut many
        };
        for (place, argument) in values[1..].iter_mut().zip(env.list(arguments)) {
            *place = Some(convert.object(argument)?);
        }
        let mut names = Vec::new();
        if named > 0 {
            let pairs = env.map(keywords).into_iter().flatten();
            for (place, (name, value)) in values[1 + positional..].iter_mut().zip(pairs) {
                *place = Some(convert.object(value)?);
                names.push(name);
            }
        }
        let names = if names.is_empty() {
            None
        } else {
            Some(self.keyword_names(py, env, &names)?)
        };
        // SAFETY: attached; `Object` is laid out as a pointer, which is not null, so that none is a null pointer; the
        // names are a tuple of as many strs as there are values beyond the positional ones.
        self.lending(|| unsafe {
            Object::owned_or_raised(
                py,
                ffi::PyObject_Vectorcall(
                    function.as_ptr(),
                    values.as_mut_ptr().add(1).cast(),
                    positional | ffi::PY_VECTORCALL_ARGUMENTS_OFFSET,
                    names.as_ref().map_or(std::ptr::null_mut(), Object::as_ptr),
                ),
            )
        })
    }

    /// The names of keyword arguments as a tuple. An atom and a binary may be the same name, which CPython does
    /// not check at this level.
    pub(super) fn keyword_names<'py>(
        &mut self,
        py: Python<'py>,
        env: &TermEnv,
        names: &[Word],
    ) -> Result<Object<'py>> {
        // SAFETY: attached; a tuple of empty places, filled below or freed as they are.
        let tuple = unsafe { Object::owned_or_raised(py, ffi::PyTuple_New(names.len() as isize))? };
        // SAFETY: attached; a new reference.
        let seen = unsafe { Object::owned_or_raised(py, ffi::PySet_New(std::ptr::null_mut()))? };
        for (i, &name) in names.iter().enumerate() {
            let name = self.name(py, env, name)?;
            // SAFETY: attached; the set takes a reference of its own. The place in the tuple is within it and
            // empty, and the reference is given to it.
            unsafe {
                if ffi::PySet_Add(seen.as_ptr(), name.as_ptr()) != 0 {
                    return Err(Raised::seen(py));
                }
                ffi::PyTuple_SET_ITEM(tuple.as_ptr(), i as isize, name.into_ptr());
            }
        }
        // SAFETY: attached; a set.
        if unsafe { ffi::PySet_Size(seen.as_ptr()) } != names.len() as isize {
            return Err(Raised::type_error(
                py,
                "a keyword argument is given twice, as an atom and as a binary",
            ));
        }
        Ok(tuple)
    }
}

/// A module by its name: the imported one, or imported now.
pub(super) fn imported<'py>(name: &Object<'py>) -> Result<Object<'py>> {
    if let Some(module) = loaded(name)? {
        return Ok(module);
    }
    // SAFETY: attached; a new reference, or null with an exception.
    unsafe { Object::owned_or_raised(name.py(), ffi::PyImport_Import(name.as_ptr())) }
}

/// A module by its name, if it was imported.
fn loaded<'py>(name: &Object<'py>) -> Result<Option<Object<'py>>> {
    let py = name.py();
    // SAFETY: attached; a new reference, or null with or without an exception.
    unsafe {
        let module = Object::owned(py, ffi::PyImport_GetModule(name.as_ptr()));
        if module.is_none() && !ffi::PyErr_Occurred().is_null() {
            return Err(Raised::seen(py));
        }
        Ok(module)
    }
}

/// Whether a name means the namespace of the caller.
fn is_own_namespace(module: &Object<'_>) -> bool {
    // SAFETY: attached; compares a str with a C text.
    unsafe { ffi::PyUnicode_CompareWithASCIIString(module.as_ptr(), c"__main__".as_ptr()) == 0 }
}

/// An attribute of a module; `a.b` is looked up step by step unless there is one of that very name.
pub(super) fn attribute<'py>(module: &Object<'py>, name: &Object<'_>) -> Result<Object<'py>> {
    if let Some(value) = in_dict(module, name) {
        return Ok(value);
    }
    let raised = match module.getattr(name) {
        Ok(value) => return Ok(value),
        Err(raised) => raised,
    };
    let py = module.py();
    let Some(exception) = raised.fetch(py) else {
        return Err(Raised::runtime_error(
            py,
            "an attribute look-up failed without a reason",
        ));
    };
    let path = name.str_lossy()?;
    if path.contains('.') {
        let mut steps = path.split('.');
        let first = module.getattr_str(steps.next().unwrap_or_default())?;
        return steps.try_fold(first, |object, step| object.getattr_str(step));
    }
    // SAFETY: attached; the exception is given back.
    unsafe { ffi::PyErr_SetRaisedException(exception.into_ptr()) };
    Err(Raised::seen(py))
}

/// A function or class that the dict of a plain module has. The module's class comes first, but has only names that begin
/// with underscores. Other things may not be what they stand for: from 3.15 on an import that is put off lies there.
fn in_dict<'py>(module: &Object<'py>, name: &Object<'_>) -> Option<Object<'py>> {
    // SAFETY: attached; a str has at least the zero at its end, and the first byte of one that begins with an underscore
    // is that, whatever its characters take, as the others of such names in classes are narrow. The dict of a module is
    // a borrowed reference, as is what lies in it, and nothing takes that away before it is kept.
    unsafe {
        if ffi::PyModule_CheckExact(module.as_ptr()) == 0
            || ffi::PyUnicode_Check(name.as_ptr()) == 0
            || *ffi::PyUnicode_DATA(name.as_ptr()).cast::<u8>() == b'_'
        {
            return None;
        }
        let dict = ffi::PyModule_GetDict(module.as_ptr());
        let value = ffi::PyDict_GetItemWithError(dict, name.as_ptr());
        if value.is_null() {
            ffi::PyErr_Clear();
            return None;
        }
        let is_itself = ffi::PyCFunction_Check(value) != 0
            || ffi::PyFunction_Check(value) != 0
            || ffi::PyType_Check(value) != 0;
        is_itself.then(|| Object::borrowed(module.py(), value))
    }
}

pub(super) fn evaluate<'py>(
    code: &Object<'py>,
    globals: &Object<'_>,
    locals: &Object<'_>,
) -> Result<Object<'py>> {
    // SAFETY: attached; a code object, a dict and a mapping.
    unsafe {
        Object::owned_or_raised(
            code.py(),
            ffi::PyEval_EvalCode(code.as_ptr(), globals.as_ptr(), locals.as_ptr()),
        )
    }
}
