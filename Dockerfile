# The page on CPUs, as an ordinary user; nothing but /tmp is written to:
#   docker build --tag hmdb .
#   docker run --rm --read-only --tmpfs /tmp --cap-drop all --publish 7860:7860 hmdb
FROM python:3.12-slim

WORKDIR /app
COPY requirements.txt constraints.txt ./
RUN pip install --no-cache-dir --requirement requirements.txt --constraint constraints.txt
COPY hmdb hmdb
COPY examples examples
COPY app.py ./
RUN python -m compileall -q hmdb app.py && useradd --uid 1000 --no-create-home page

USER 1000
ENV GRADIO_SERVER_NAME=0.0.0.0 HOME=/tmp PYTHONDONTWRITEBYTECODE=1
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ.get('GRADIO_SERVER_PORT', '7860') + '/health', timeout=8)"]
CMD ["python", "app.py"]
