defmodule MixApp do
  def main do
    {:ok, _} = Application.ensure_all_started(:erlang_python)
    :io.format("answer: ~p~n", [:py.call(:math, :sqrt, [16])])
  end
end
