"""The command line, `synth-detect <verb>`."""
