"""Which element of a camt message gives which field: the paths of all versions side by side.

In the oldest version the details stand under other names; a later path never hides an earlier one.
"""

from __future__ import annotations

from typing import Final


def _party(path: str, field: str) -> dict[str, str]:
    """A name: ``Nm``, ``Pty/Nm`` of the newer versions, or an agent's."""
    return {
        f"{path}/Nm": field,
        f"{path}/Pty/Nm": field,
        f"{path}/Agt/FinInstnId/Nm": field,
    }


def _account(path: str, field: str) -> dict[str, str]:
    """A number: IBAN, else any other identifier, else its proxy."""
    return {
        f"{path}/Id/IBAN": field,
        f"{path}/Id/Othr/Id": field,
        f"{path}/Id/BBAN": field,
        f"{path}/Id/UPIC": field,
        f"{path}/Id/PrtryAcct/Id": field,
        f"{path}/Prxy/Id": field,
    }


def _kind(path: str, field: str) -> dict[str, str]:
    """Whose account it is; a party said to be both is taken for a person, who never pays (P-22)."""
    return {
        f"{path}/Id/PrvtId": f"{field}=personal",
        f"{path}/Pty/Id/PrvtId": f"{field}=personal",
        f"{path}/Id/OrgId": f"{field}=corporate",
        f"{path}/Pty/Id/OrgId": f"{field}=corporate",
    }


PART: Final = {
    "Refs/MsgId": "message_id",
    "Refs/AcctSvcrRef": "bank_reference",
    "Refs/PmtInfId": "payment_id",
    "Refs/InstrId": "instruction_id",
    "Refs/EndToEndId": "end_to_end_id",
    "Refs/TxId": "transaction_id",
    "Amt": "amount@",
    "AmtDtls/TxAmt/Amt": "amount@",
    "CdtDbtInd": "side",
    **_party("RltdPties/Dbtr", "debtor_name"),
    **_account("RltdPties/DbtrAcct", "debtor_account"),
    **_kind("RltdPties/Dbtr", "payer_kind"),
    "RltdAgts/DbtrAgt/FinInstnId/BIC": "debtor_bic",
    "RltdAgts/DbtrAgt/FinInstnId/BICFI": "debtor_bic",
    "RltdAgts/DbtrAgt/FinInstnId/CmbndId/BIC": "debtor_bic",
    "RltdAgts/DbtrAgt/FinInstnId/ClrSysMmbId/MmbId": "debtor_clearing_id",
    "RltdAgts/DbtrAgt/FinInstnId/CmbndId/ClrSysMmbId/MmbId": "debtor_clearing_id",
    "RltdAgts/DbtrAgt/FinInstnId/Nm": "debtor_bank",
    "RltdAgts/DbtrAgt/FinInstnId/CmbndId/Nm": "debtor_bank",
    **_party("RltdPties/Cdtr", "creditor_name"),
    **_account("RltdPties/CdtrAcct", "creditor_account"),
    **_party("RltdPties/UltmtDbtr", "ultimate_debtor_name"),
    **_party("RltdPties/UltmtCdtr", "ultimate_creditor_name"),
    "RmtInf/Ustrd": "remittance*",
    "RmtInf/Strd/CdtrRefInf/Ref": "references*",
    "RmtInf/Strd/CdtrRefInf/CdtrRef": "references*",
    "RtrInf/Rsn/Cd": "return_reason",
    "RtrInf/Rsn/Prtry": "return_reason",
    "RtrInf/RtrRsn/Cd": "return_reason",
    "RtrInf/RtrRsn/Prtry": "return_reason",
    "AddtlTxInf": "information",
}
"""Fields of one ``TxDtls``."""

ENTRY: Final = {
    "Amt": "amount@",
    "CdtDbtInd": "side",
    "RvslInd": "reversal",
    "Sts": "status",
    "Sts/Cd": "status",
    "Sts/Prtry": "status",
    "BookgDt/Dt": "booked_day",
    "BookgDt/DtTm": "booked_time",
    "ValDt/Dt": "value_day",
    "ValDt/DtTm": "value_time",
    "NtryRef": "entry_reference",
    "AcctSvcrRef": "bank_reference",
    "AddtlNtryInf": "information",
    "NtryDtls/Btch/NbOfTxs": "batch_count",
}
"""Fields of one ``Ntry`` without its details."""

BALANCE: Final = {
    "Tp/CdOrPrtry/Cd": "kind",
    "Tp/CdOrPrtry/Prtry": "kind",
    "Tp/Cd": "kind",
    "Tp/Prtry": "kind",
    "Amt": "amount@",
    "CdtDbtInd": "side",
    "Dt/Dt": "day",
    "Dt/DtTm": "day",
}
"""Fields of one ``Bal``."""

STATEMENT: Final = {
    "Id": "identifier",
    "ElctrncSeqNb": "number",
    "LglSeqNb": "number",
    "StmtPgntn/PgNb": "page",
    "StmtPgntn/LastPgInd": "last_page",
    "RptPgntn/PgNb": "page",
    "RptPgntn/LastPgInd": "last_page",
    "NtfctnPgntn/PgNb": "page",
    "NtfctnPgntn/LastPgInd": "last_page",
}
"""Fields of one statement, report or notification."""

ACCOUNT: Final = {
    **{path[2:]: name for path, name in _account("_", "account").items()},
    "Ccy": "currency",
}
"""The account that a statement is about."""

HEADER: Final = {"MsgId": "message_id", "CreDtTm": "created_at"}
"""Fields of the message's header."""

_REASON: Final = {
    "StsRsnInf/Rsn/Cd": "reasons*",
    "StsRsnInf/Rsn/Prtry": "reasons*",
    "StsRsnInf/StsRsn/Cd": "reasons*",
    "StsRsnInf/StsRsn/Prtry": "reasons*",
    "StsRsnInf/AddtlInf": "details*",
    "StsRsnInf/AddtlStsRsnInf": "details*",
}

GROUP_STATUS: Final = {"OrgnlMsgId": "message_id", "GrpSts": "status", **_REASON}
"""Fields of ``OrgnlGrpInfAndSts``."""

PAYMENT_STATUS: Final = {"OrgnlPmtInfId": "payment_id", "PmtInfSts": "status", **_REASON}
"""Fields of ``OrgnlPmtInfAndSts`` without its transactions."""

TRANSACTION_STATUS: Final = {
    "TxSts": "status",
    "OrgnlEndToEndId": "end_to_end_id",
    "OrgnlInstrId": "instruction_id",
    "OrgnlTxId": "transaction_id",
    **_REASON,
}
"""Fields of one ``TxInfAndSts``."""
