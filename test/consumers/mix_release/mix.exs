defmodule Shop.MixProject do
  use Mix.Project

  def project do
    [app: :shop, version: "1.0.0", deps: deps(), aliases: aliases()]
  end

  def application do
    [mod: {Shop, []}]
  end

  # The test puts a local repository in the place of REPOSITORY.
  defp deps do
    [{:erlang_python, git: "REPOSITORY", branch: "main"}]
  end

  defp aliases do
    [compile: ["compile", &python/1]]
  end

  defp python(_arguments) do
    with {:error, reason} <- :py_venv.build() do
      Mix.raise("the virtual environment was not made: #{inspect(reason)}")
    end
  end
end
