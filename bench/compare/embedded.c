/* Python with libpython as a library, as Erlang has it: some distributions link their own program otherwise. */
#include <Python.h>

int main(int argc, char **argv) {
    return Py_BytesMain(argc, argv);
}
