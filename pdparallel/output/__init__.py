"""What the function prints, logs and warns of in workers; :mod:`pdparallel.output.hooks` has the picture."""
