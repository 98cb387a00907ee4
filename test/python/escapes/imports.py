"""Attempts to import `json`, `shelve`, `os` or something in `xml`, which the policy denies."""

import builtins
import importlib
import importlib.machinery
import sys

UNDER = ("imports",)


def attempt_statement():
    import json

    return json


def attempt_loaded_already():
    import os

    return os


def attempt_from():
    from xml.dom import minidom

    return minidom


def attempt_other_package_first():
    import xml.sax.handler

    return xml


def attempt_function():
    return __import__("json")


def attempt_function_of_builtins():
    return builtins.__import__("json")


def attempt_importlib():
    return importlib.import_module("json")


def attempt_importlib_relative():
    return importlib.import_module(".decoder", "json")


def attempt_relative_to_another_package():
    import_here = builtins.__import__
    return import_here("decoder", {"__package__": "json", "__name__": "json.x"}, None, ["JSONDecoder"], 1)


def attempt_bootstrap():
    return sys.modules["_frozen_importlib"]._gcd_import("json")


def attempt_eval():
    return eval("__import__('json')")


def attempt_other_builtins():
    return eval("__import__('json')", {"__builtins__": dict(vars(builtins))})


def attempt_exec_elsewhere():
    names = {}
    exec("import json", names)
    return names["json"]


def attempt_pickle():
    import pickle

    return pickle.loads(b"cjson\nloads\n.")


def attempt_star():
    names = {}
    exec("from json import *", names)
    return names["loads"]


def attempt_thread():
    import threading

    outcomes = []

    def run():
        try:
            import json

            outcomes.append(json)
        except ImportError:
            pass

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return outcomes


def attempt_builtins_made_anew():
    import _imp

    module = _imp.create_builtin(
        importlib.machinery.ModuleSpec("builtins", importlib.machinery.BuiltinImporter)
    )
    return module.__import__("json")
