# For those who type make; everything else is `python3 app.py`.
.PHONY: run test lint lock
run: ; python3 app.py
test: ; python3 app.py test
lint: ; .venv/bin/python -m ruff check . && .venv/bin/python -m mypy
COMPILE = .venv/bin/python -m uv pip compile --universal --python-version 3.11 --generate-hashes -q
lock: # `make lock UPGRADE=--upgrade` takes newer versions
	$(COMPILE) $(UPGRADE) requirements.in -o requirements.txt
	$(COMPILE) $(UPGRADE) requirements-dev.in -o requirements-dev.txt
