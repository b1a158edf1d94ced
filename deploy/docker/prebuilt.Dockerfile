# The image with programs that are compiled already. Put them into an empty directory, below rootfs/, as they are to lie in
# the image: rootfs/usr/bin/ultrasimple, rootfs/usr/bin/ultrasimple-ctl, rootfs/etc/ssl/certs/ca-certificates.crt. Then
#
#   docker build -f deploy/docker/Dockerfile --target runtime -t ultrasimple-runtime deploy/docker
#   docker build -f deploy/docker/prebuilt.Dockerfile -t ultrasimple DIRECTORY
ARG RUNTIME_IMAGE=ultrasimple-runtime
FROM ${RUNTIME_IMAGE}
COPY rootfs/ /
