ARG BASE_IMAGE=python:3.13-slim-bookworm

# Dependencies first and alone, so that a change of the code or of the model does not install them again.
FROM ${BASE_IMAGE} AS dependencies
COPY requirements.txt /
RUN pip install --quiet --no-cache-dir --no-compile --require-hashes --root-user-action=ignore \
      --target /out/opt/scorebox/packages --requirement /requirements.txt
# What only developers of these packages need goes; libonnxruntime.so is the C library, which the Python one
# does not load. Byte code is made here, since the root file system is read-only later, and without the time
# of its making, and as one order of hashes gives it. One time for every file, so that the same input gives the
# same layer.
RUN cd /out/opt/scorebox/packages \
      && rm -rf bin onnxruntime/transformers onnxruntime/quantization onnxruntime/tools onnxruntime/datasets \
           onnxruntime/capi/libonnxruntime.so* simdjson/*.cpp simdjson/*.h \
      && find . -depth -type d -name tests -exec rm -rf {} + \
      && PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash . \
      && find /out -exec touch --no-dereference --date=@0 {} +

# The build fails here if the model cannot answer its own samples.
FROM ${BASE_IMAGE} AS proven
ENV PYTHONPATH=/opt/scorebox/packages PYTHONDONTWRITEBYTECODE=1
COPY --from=dependencies /out/ /
WORKDIR /out/application/opt/scorebox
COPY gunicorn.conf.py ./
COPY model_loader model_loader
COPY app app
# A file that lies beside the code, a key or a note, is none of the service's.
RUN find . -type f ! -name '*.py' ! -path './app/routes/static/*.js' ! -path './app/routes/static/*.html' \
      ! -path './app/routes/static/*-LICENSE.txt' -delete && find . -type d -empty -delete && PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash .
WORKDIR /out/model/opt/scorebox
# The optimized model goes with it where there is one, which COPY cannot say.
RUN --mount=target=/context for form in model model.optimized; do \
        if [ -d "/context/$form" ]; then cp -r "/context/$form" .; fi; \
      done \
      && cd /out/application/opt/scorebox && MODEL_PATH=/out/model/opt/scorebox/model python -m app.commands.check \
      && find /out -exec touch --no-dereference --date=@0 {} + && chmod -R u=rwX,go=rX /out

# Nothing is installed from here on. Removed in a layer of its own, pip would still be in the one below.
FROM ${BASE_IMAGE} AS base
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
      && touch --date=@0 /usr/local/bin /usr/local/lib/python3* /usr/local/lib/python3*/site-packages

FROM scratch
COPY --from=base / /
COPY --from=dependencies /out/ /
COPY --from=proven /out/application/ /
COPY --from=proven /out/model/ /
WORKDIR /opt/scorebox
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/opt/scorebox/packages \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
USER 10001:10001
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import os, urllib.request as request; \
request.build_opener(request.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('PORT') or '8080') + '/healthz')"]
CMD ["python", "-m", "gunicorn"]
