defmodule MixApp.MixProject do
  use Mix.Project

  def project do
    [app: :mix_app, version: "0.1.0", deps: deps()]
  end

  # The test puts a local repository in the place of REPOSITORY.
  defp deps do
    [{:erlang_python, git: "REPOSITORY", branch: "main"}]
  end
end
