import io

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, ImplicitVRLittleEndian, MRImageStorage

from meddet.data.identity import identifying_tags

CANARY = "CANARY^Jane"


def clean() -> Dataset:
    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.StudyInstanceUID = MRImageStorage, "1.2.3", "1.2"
    data.Modality, data.Manufacturer, data.ManufacturerModelName = "MR", "Maker", "Model"
    data.PatientSex, data.PatientAge, data.MagneticFieldStrength = "F", "041Y", "1.5"
    data.RepetitionTime, data.EchoTime, data.Rows = "3000", "100", 4
    return data


def test_pixels_geometry_sex_and_age_identify_nobody() -> None:
    assert identifying_tags(clean()) == []


@pytest.mark.parametrize(
    "keyword",
    [
        *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "PatientAddress", "AccessionNumber"),
        *("ReferringPhysicianName", "InstitutionName", "StudyDate", "AcquisitionTime", "StudyID", "StationName"),
        *("PatientComments", "ImageComments", "SeriesDescription", "ProtocolName", "OperatorsName"),
    ],
)
def test_an_identifying_element_is_named_and_an_empty_one_is_not(keyword: str) -> None:
    data = clean()
    values = {"DA": "20200131", "TM": "120000"}
    setattr(data, keyword, "")
    assert identifying_tags(data) == []
    setattr(data, keyword, values.get(data[keyword].VR, CANARY))
    assert identifying_tags(data) == [keyword]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_sequences_private_elements_and_overlays_are_searched_in_a_file(syntax: UID) -> None:
    data, item, inner = clean(), Dataset(), Dataset()
    inner.PatientID = CANARY
    item.PersonIdentificationCodeSequence = [Dataset()]
    item.RequestAttributesSequence = [inner]
    data.SourceImageSequence = [item]
    data.private_block(0x0009, CANARY, create=True).add_new(1, "LO", CANARY)
    data.add_new(0x60024000, "LT", CANARY)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, data, enforce_file_format=True)
    buffer.seek(0)
    found = identifying_tags(pydicom.dcmread(buffer))
    assert {"PatientID", "RequestAttributesSequence", "private (0009,0010)", "private (0009,1001)"} <= set(found)
    assert "(6002,4000)" in found or "OverlayComments" in found
    assert CANARY not in str(found)


def test_a_declared_replacement_is_believed_but_not_what_should_be_gone() -> None:
    data = clean()
    data.PatientID, data.PatientName = "pseudonym", "pseudonym"
    data.PatientIdentityRemoved = "YES"
    assert identifying_tags(data) == ["PatientID", "PatientName"]
    data.DeidentificationMethod = "basic profile"
    assert identifying_tags(data) == []
    data.PatientAddress = CANARY
    assert identifying_tags(data) == ["PatientAddress"]
