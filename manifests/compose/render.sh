# What wrote the files here; again after a change of provision.toml or models.lock: sh render.sh
provision emit server compose -o server
