ARG BASE_IMAGE=python:3.13-slim-bookworm

# Dependencies are a stage of their own, so that a change of code or model does not install them again.
FROM ${BASE_IMAGE} AS dependencies
COPY requirements*.txt /requirements/
RUN pip install --quiet --no-cache-dir --no-compile --require-hashes --root-user-action=ignore \
      --target /out/opt/service/packages $(printf -- '--requirement=%s ' /requirements/*)
# Remove what only developers of these packages need, and libonnxruntime.so, the C library, which the Python module
# does not load. Compile byte code now, since the root file system is read-only later. Unchecked hashes, a fixed hash
# seed and a fixed time of all files make the layer reproducible.
RUN cd /out/opt/service/packages \
      && rm -rf bin onnxruntime/transformers onnxruntime/quantization onnxruntime/tools onnxruntime/datasets \
           onnxruntime/capi/libonnxruntime.so* simdjson/*.cpp simdjson/*.h \
      && find . -depth -type d -name tests -exec rm -rf {} + \
      && PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash . \
      && find /out -exec touch --no-dereference --date=@0 {} +

# The build fails here if the model does not answer its own samples correctly.
FROM ${BASE_IMAGE} AS verified
ENV PYTHONPATH=/opt/service/packages PYTHONDONTWRITEBYTECODE=1
COPY --from=dependencies /out/ /
WORKDIR /out/application/opt/service
COPY gunicorn.conf.py service.toml ./
COPY model_loader model_loader
COPY app app
# Delete other files next to the code, such as keys and notes.
RUN find . -type f ! -name '*.py' ! -path ./service.toml ! -path './app/routes/static/*.js' \
      ! -path './app/routes/static/*.html' ! -path './app/routes/static/*.css' \
      ! -path './app/routes/static/*-LICENSE.txt' -delete \
      && find . -type d -empty -delete \
      && PYTHONHASHSEED=0 python -m compileall -q --invalidation-mode unchecked-hash .
WORKDIR /out/model/opt/service
# Copy the optimized model only if it exists; COPY fails for a missing directory.
RUN --mount=target=/context for form in model model.optimized; do \
        if [ -d "/context/$form" ]; then cp -r "/context/$form" .; fi; \
      done \
      && cd /out/application/opt/service && MODEL_PATH=/out/model/opt/service/model python -m app.commands.check \
      && find /out -exec touch --no-dereference --date=@0 {} + && chmod -R u=rwX,go=rX /out

# Remove pip, and copy the result into an empty image below: otherwise pip would remain in a lower layer.
FROM ${BASE_IMAGE} AS base
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
      && touch --date=@0 /usr/local/bin /usr/local/lib/python3* /usr/local/lib/python3*/site-packages

FROM scratch
COPY --from=base / /
COPY --from=dependencies /out/ /
COPY --from=verified /out/application/ /
COPY --from=verified /out/model/ /
WORKDIR /opt/service
ENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 PYTHONPATH=/opt/service/packages \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1
# scripts/build gives the port of service.toml.
ARG PORT=8080
ENV PORT=${PORT}
USER 10001:10001
EXPOSE ${PORT}
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "-c", "\
import os, urllib.request as request; \
request.build_opener(request.ProxyHandler({})).open('http://127.0.0.1:' + (os.environ.get('PORT') or '8080') + '/healthz')"]
CMD ["python", "-m", "gunicorn"]
