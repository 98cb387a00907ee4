"""The Python side of compare_ports: answers {Module, Function, Args} with {ok, Value} or {error, Text}."""

import importlib
import struct
import sys


def decode(data, at):
    tag = data[at]
    at += 1
    if tag == 97:  # SMALL_INTEGER
        return data[at], at + 1
    if tag == 98:  # INTEGER
        return struct.unpack_from(">i", data, at)[0], at + 4
    if tag == 110:  # SMALL_BIG
        end = at + 2 + data[at]
        value = int.from_bytes(data[at + 2 : end], "little")
        return -value if data[at + 1] else value, end
    if tag == 70:  # NEW_FLOAT
        return struct.unpack_from(">d", data, at)[0], at + 8
    if tag == 109:  # BINARY
        end = at + 4 + struct.unpack_from(">I", data, at)[0]
        value = data[at + 4 : end]
        try:
            return str(value, "utf-8"), end
        except UnicodeDecodeError:
            return bytes(value), end
    if tag in (119, 100):  # SMALL_ATOM_UTF8, ATOM
        start = at + (1 if tag == 119 else 2)
        end = start + (
            data[at] if tag == 119 else struct.unpack_from(">H", data, at)[0]
        )
        name = str(data[start:end], "utf-8")
        return {"true": True, "false": False}.get(name, name), end
    if tag == 106:  # NIL
        return [], at
    if tag == 107:  # STRING: a list of small integers
        end = at + 2 + struct.unpack_from(">H", data, at)[0]
        return list(data[at + 2 : end]), end
    if tag == 104:  # SMALL_TUPLE
        count, at = data[at], at + 1
    else:  # LIST, MAP
        count, at = struct.unpack_from(">I", data, at)[0], at + 4
    items = []
    for _ in range(2 * count if tag == 116 else count):
        value, at = decode(data, at)
        items.append(value)
    if tag == 116:
        return dict(zip(items[::2], items[1::2])), at
    return (tuple(items), at) if tag == 104 else (items, at + 1)


def encode(value, out):
    if value is True or value is False:
        name = b"true" if value else b"false"
        out.append(b"w" + bytes([len(name)]) + name)
    elif isinstance(value, int):
        if -(2**31) <= value < 2**31:
            out.append(struct.pack(">Bi", 98, value))
        else:
            digits = abs(value).to_bytes((value.bit_length() + 7) // 8, "little")
            out.append(bytes([110, len(digits), value < 0]) + digits)
    elif isinstance(value, float):
        out.append(struct.pack(">Bd", 70, value))
    elif isinstance(value, (str, bytes)):
        data = value.encode() if isinstance(value, str) else value
        out.extend((struct.pack(">BI", 109, len(data)), data))
    elif isinstance(value, dict):
        out.append(struct.pack(">BI", 116, len(value)))
        for key, item in value.items():
            encode(key, out)
            encode(item, out)
    else:  # A list or a tuple.
        out.append(struct.pack(">BI", 108, len(value)))
        for item in value:
            encode(item, out)
        out.append(b"j")


def read(stream):
    header = stream.read(4)
    if len(header) < 4:
        return None
    return decode(memoryview(stream.read(struct.unpack(">I", header)[0])), 1)[0]


def write(stream, tag, value):
    """Writes {tag, value}, the tag being an atom."""
    out = [b"", b"\x83h\x02w" + bytes([len(tag)]) + tag.encode()]
    encode(value, out)
    out[0] = struct.pack(">I", sum(map(len, out)))
    stream.write(b"".join(out))
    stream.flush()


def main():
    functions = {}
    while (request := read(sys.stdin.buffer)) is not None:
        module, name, args = request
        try:
            function = functions.get((module, name))
            if function is None:
                function = functions[module, name] = getattr(
                    importlib.import_module(module), name
                )
            write(sys.stdout.buffer, "ok", function(*args))
        except Exception as error:
            write(sys.stdout.buffer, "error", repr(error))


if __name__ == "__main__":
    main()
