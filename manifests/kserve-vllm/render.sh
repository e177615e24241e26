# What wrote the folders here; again after a change of provision.toml or models.lock: sh render.sh
provision emit volume -o volume
provision emit job -o mirror
provision emit server kserve -o server
