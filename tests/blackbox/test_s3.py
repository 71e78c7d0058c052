"""boto3 against moto through the proxy: signatures, checksums and ETags, binary bodies, chunked uploads, XML."""

from __future__ import annotations

import datetime
import hashlib

import boto3
import botocore.auth
import botocore.httpchecksum
import pytest
from botocore.client import Config
from cassettes import holding
from peers import Moto
from rawclient import Pattern
from sdk import play

IDS = ("AKIARECORDING0000001", "AKIAREPLAYING0000002")
KEYS = {
    IDS[0]: "record/secret+00000000000000000000000001",
    IDS[1]: "replay/secret+00000000000000000000000002",
}

BINARY = b"".join(bytes(piece) for piece in Pattern(b"s3").pieces(300_000))


@pytest.fixture
def real(tmp_path, closing):
    return closing(Moto(tmp_path))


@pytest.fixture
def with_boto(monkeypatch):
    """A client for `play`. With the second key it is three days later, so that dates and signatures differ."""

    def make(use, **config):
        def client(url, key):
            now = botocore.auth.get_current_datetime

            def later(*args, **kwargs):
                return now(*args, **kwargs) + datetime.timedelta(days=3 if key == IDS[1] else 0)

            with monkeypatch.context() as patch:
                patch.setattr(botocore.auth, "get_current_datetime", later)
                s3 = boto3.client(
                    "s3",
                    endpoint_url=url,
                    aws_access_key_id=key,
                    aws_secret_access_key=KEYS[key],
                    region_name="us-east-1",
                    config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **config),
                )
                try:
                    return use(s3)
                finally:
                    s3.close()

        return client

    return make


def plain(answer):
    """What a person looks at: without the metadata of the exchange, with bodies read."""
    told = {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    if "Body" in told:
        told["Body"] = told["Body"].read()
    told["status"] = answer["ResponseMetadata"]["HTTPStatusCode"]
    return told


def held(story, cassette):
    """The credentials and dates differ, and no secret is kept."""
    assert story.replayed == story.recorded
    for old, new in zip(story.recorded_wire, story.replayed_wire):
        assert old.request.get("authorization") != new.request.get("authorization")
        assert old.request.get("x-amz-date") != new.request.get("x-amz-date")
    signatures = [exchange.request.get("authorization").split("Signature=")[1] for exchange in story.recorded_wire]
    assert holding(cassette, [*KEYS.values(), *signatures]) == []


def test_objects_are_put_got_listed_and_deleted_again(rehearsal, tap, real, cassette, with_boto):
    def use(s3):
        told = [plain(s3.create_bucket(Bucket="box"))]
        told.append(plain(s3.put_object(Bucket="box", Key="folder/image.png", Body=BINARY, ContentType="image/png")))
        told.append(plain(s3.put_object(Bucket="box", Key="grüße & <xml>.txt", Body=b"hello")))
        told.append(plain(s3.list_objects_v2(Bucket="box")))
        told.append(plain(s3.head_object(Bucket="box", Key="folder/image.png")))
        told.append(plain(s3.get_object(Bucket="box", Key="folder/image.png")))
        told.append(plain(s3.delete_object(Bucket="box", Key="folder/image.png")))
        told.append(plain(s3.list_buckets()))
        return told

    story = play(rehearsal, tap, real, cassette, with_boto(use), *IDS)
    held(story, cassette)
    got = story.replayed[5]
    assert got["Body"] == BINARY
    assert got["ETag"].strip('"') == hashlib.md5(BINARY).hexdigest()
    assert [entry["Key"] for entry in story.replayed[3]["Contents"]] == ["folder/image.png", "grüße & <xml>.txt"]


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_checksums_still_hold(rehearsal, tap, real, cassette, with_boto, algorithm):
    """boto3 computes the checksum of what it gets, and raises where it is another."""

    def use(s3):
        s3.create_bucket(Bucket="box")
        put = s3.put_object(Bucket="box", Key="k", Body=BINARY, ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket="box", Key="k", ChecksumMode="ENABLED")
        assert got[f"Checksum{algorithm}"] == put[f"Checksum{algorithm}"]
        return plain(put), plain(got)

    story = play(rehearsal, tap, real, cassette, with_boto(use), *IDS)
    held(story, cassette)
    assert story.replayed[1]["Body"] == BINARY


def test_a_chunked_upload_with_a_trailing_checksum_is_the_same_again(rehearsal, tap, real, cassette, with_boto, monkeypatch):
    """`aws-chunked` as boto3 sends it over TLS: made to send it here too."""
    parse = botocore.httpchecksum.urlparse
    monkeypatch.setattr(botocore.httpchecksum, "urlparse", lambda url: parse(url)._replace(scheme="https"))

    def use(s3):
        s3.create_bucket(Bucket="box")
        put = s3.put_object(Bucket="box", Key="k", Body=BINARY, ChecksumAlgorithm="CRC32")
        got = s3.get_object(Bucket="box", Key="k")
        return plain(put), plain(got)

    story = play(rehearsal, tap, real, cassette, with_boto(use), *IDS)
    held(story, cassette)
    upload = story.recorded_wire[1].request
    assert "aws-chunked" in upload.get("content-encoding")
    assert upload.get("x-amz-trailer") == "x-amz-checksum-crc32"
    assert story.replayed[1]["Body"] == BINARY


def test_a_multipart_upload_is_the_same_again(rehearsal, tap, real, cassette, with_boto):
    parts = [BINARY * 18, b"the end"]

    def use(s3):
        s3.create_bucket(Bucket="box")
        upload = s3.create_multipart_upload(Bucket="box", Key="big")["UploadId"]
        done = []
        for number, body in enumerate(parts, 1):
            etag = s3.upload_part(Bucket="box", Key="big", UploadId=upload, PartNumber=number, Body=body)["ETag"]
            done.append({"PartNumber": number, "ETag": etag})
        whole = s3.complete_multipart_upload(Bucket="box", Key="big", UploadId=upload, MultipartUpload={"Parts": done})
        return plain(whole), plain(s3.get_object(Bucket="box", Key="big", Range="bytes=100-299"))

    story = play(rehearsal, tap, real, cassette, with_boto(use), *IDS)
    held(story, cassette)
    assert story.replayed[1]["Body"] == parts[0][100:300]
    assert story.replayed[1]["status"] == 206


def test_an_error_in_xml_is_the_same_again(rehearsal, tap, real, cassette, with_boto):
    def use(s3):
        with pytest.raises(s3.exceptions.NoSuchBucket) as caught:
            s3.list_objects_v2(Bucket="nowhere")
        return caught.value.response["Error"]

    story = play(rehearsal, tap, real, cassette, with_boto(use), *IDS)
    held(story, cassette)
    assert story.replayed["Code"] == "NoSuchBucket"
