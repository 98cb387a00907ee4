import Config

# The test puts a folder of packages in the place of WHEELS.
config :erlang_python,
  python: [
    app: :shop,
    requirements: ["some-package==1.0"],
    installer_options: ["--no-index", "--find-links", "WHEELS"],
    make: :build
  ]

config :logger, level: :error
