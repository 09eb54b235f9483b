"""The command line, `synth-detect <verb>`: a module a verb, see `main`."""
