# Every target is one script; `make demo` and `make test` need nothing but g++, cmake, python3, make and git.
.PHONY: help demo test bench bench-models study-model docs wheel sanitize gpu-check format

help: ; @scripts/help.sh
demo: ; @scripts/demo.sh
test: ; @scripts/test.sh
bench: ; @scripts/bench.sh $(ARGS)
wheel: ; @scripts/wheel.sh
bench-models: ; @scripts/bench_models.sh $(ARGS)
study-model: ; @scripts/study_model.sh $(ARGS)
docs: ; @scripts/docs.sh
sanitize: ; @scripts/sanitize.sh
gpu-check: ; @scripts/gpu_check.sh $(ARGS)
format: ; @scripts/format.sh
