"""Files on their way to and from remote stores, block by block, in bounded memory."""
