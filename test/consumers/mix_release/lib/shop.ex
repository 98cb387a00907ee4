defmodule Shop do
  use Application

  # Says what the package says, and where it is, and ends.
  def start(_type, _args) do
    answer = :py.eval("[(m := __import__('some_package')).version, m.__file__]")
    :io.format("answer: ~0tp~n", [answer])
    System.stop()
    Supervisor.start_link([], strategy: :one_for_one)
  end
end
