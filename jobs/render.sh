# What wrote the YAML here; again after a change of provision.toml or models.lock: sh render.sh
provision emit job > mirror.yaml
provision emit verify > verify.yaml
provision emit inspector > inspector.yaml
