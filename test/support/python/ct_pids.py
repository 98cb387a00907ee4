"""Messages to Erlang, and the values of Erlang that they go to."""

import threading

import erlang

#: What other calls look at.
kept = {}


def keep(name, value):
    kept[name] = value


def kept_is(name, value):
    """Tell whether a value is equal to the kept one, and found where the kept one is the key."""
    mine = kept[name]
    return mine == value and (mine != value) is False and hash(mine) == hash(value) and {mine: 1}.get(value) == 1


def attempt(function, *arguments, **named):
    """Give what a call gives, or what it raises."""
    try:
        return "ok", function(*arguments, **named)
    except erlang.ErlangError as error:
        return error.kind, error.reason
    except BaseException as error:
        return type(error).__name__, str(error)


def send_many(to, tag, count):
    for i in range(1, count + 1):
        erlang.send(to, (tag, i))


def send_many_to_each(recipients, tag, count):
    for i in range(1, count + 1):
        for to in recipients:
            erlang.send(to, (tag, i))


def send_from_threads(to, threads, count):
    started = [threading.Thread(target=send_many, args=(to, i, count)) for i in range(1, threads + 1)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def start_sending(to, tag, count):
    threading.Thread(target=send_many, args=(to, tag, count)).start()


def send_until_refused(to, tag, most):
    """Give how many messages went, and what refused the next one."""
    for i in range(1, most + 1):
        try:
            erlang.send(to, (tag, i))
        except erlang.ProcessError as error:
            return i - 1, str(error)
    return most, None


class Sending:
    """Says by a message that it goes."""

    def __init__(self, to, message):
        self.to = to
        self.message = message

    def __del__(self):
        erlang.send(self.to, self.message)


class Pair:
    """Two that refer to one another: only the collector finds them."""

    def __init__(self, to, message):
        self.sending = Sending(to, message)
        self.myself = self


def leave_pair(to, message):
    Pair(to, message)


def send_and_raise(to, message):
    erlang.send(to, message)
    raise ValueError("after the message")


def call_twice(fun, *arguments):
    return [fun(*arguments), fun(*arguments)]


def call_in_thread(fun, *arguments):
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(attempt(fun, *arguments)))
    thread.start()
    thread.join()
    return outcomes[0]


def is_process_error():
    return issubclass(erlang.ProcessError, RuntimeError), erlang.ProcessError.__module__
